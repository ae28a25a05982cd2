//! The primitive types of Kafka's protocol.

/// What is left of a frame. Every read moves on, or says that there is too little.
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    pub fn i8(&mut self) -> Option<i8> {
        self.array().map(i8::from_be_bytes)
    }

    pub fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub fn varint(&mut self) -> Option<usize> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn text(&mut self, length: usize) -> Option<String> {
        Some(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    /// A string of the old kind; null reads as empty.
    pub fn string(&mut self) -> Option<String> {
        match self.i16()? {
            -1 => Some(String::new()),
            length => self.text(usize::try_from(length).ok()?),
        }
    }

    /// A string; compact ones count one more than their length, and null none.
    pub fn any_string(&mut self, compact: bool) -> Option<String> {
        if !compact {
            return self.string();
        }
        let length = self.varint()?;
        self.text(length.saturating_sub(1))
    }

    /// Bytes that are not looked into; null reads as empty.
    pub fn skip_bytes(&mut self, compact: bool) -> Option<()> {
        let length = if compact {
            self.varint()?.saturating_sub(1)
        } else {
            usize::try_from(self.i32()?.max(0)).ok()?
        };
        self.skip(length)
    }

    pub fn count(&mut self, compact: bool) -> Option<usize> {
        if compact {
            self.varint()?.checked_sub(1)
        } else {
            usize::try_from(self.i32()?).ok()
        }
    }

    pub fn tags(&mut self) -> Option<()> {
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(length)?;
        }
        Some(())
    }

    pub fn tags_if(&mut self, flexible: bool) -> Option<()> {
        if flexible { self.tags() } else { Some(()) }
    }

    /// An array of topics, each with an array of partitions; `read` is given both, and
    /// goes on behind the number of the partition.
    pub fn each_partition(
        &mut self,
        flexible: bool,
        mut read: impl FnMut(&mut Self, &str, i32) -> Option<()>,
    ) -> Option<()> {
        for _ in 0..self.count(flexible)? {
            let topic = self.any_string(flexible)?;
            for _ in 0..self.count(flexible)? {
                let partition = self.i32()?;
                read(self, &topic, partition)?;
                self.tags_if(flexible)?;
            }
            self.tags_if(flexible)?;
        }
        Some(())
    }

    pub fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}
