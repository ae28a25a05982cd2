//! Frames, made by hand.

use super::super::frame::Api;

/// A frame in the making. The size is put in at the end.
#[derive(Debug, Clone, Default)]
pub struct Build(Vec<u8>);

impl Build {
    pub fn i8(mut self, value: i8) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i16(mut self, value: i16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i32(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i64(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn string(self, text: &str, compact: bool) -> Self {
        let length = i16::try_from(text.len()).unwrap();
        let head = if compact {
            self.varint(text.len() + 1)
        } else {
            self.i16(length)
        };
        head.raw(text.as_bytes())
    }

    pub fn null(self, compact: bool) -> Self {
        if compact { self.i8(0) } else { self.i16(-1) }
    }

    pub fn count(self, count: usize, compact: bool) -> Self {
        if compact {
            self.varint(count + 1)
        } else {
            self.i32(i32::try_from(count).unwrap())
        }
    }

    pub fn varint(mut self, mut value: usize) -> Self {
        while value >= 0x80 {
            self.0.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).unwrap());
        self
    }

    /// Two tagged fields, if there can be any.
    pub fn tags(self, flexible: bool) -> Self {
        if flexible {
            self.raw(&[2, 0, 1, 0xaa, 1, 2, 0xbb, 0xcc])
        } else {
            self
        }
    }

    pub fn frame(self) -> Vec<u8> {
        let mut frame = i32::try_from(self.0.len()).unwrap().to_be_bytes().to_vec();
        frame.extend(self.0);
        frame
    }
}

/// A request's header; flexible ones end in tags.
pub fn head(api: Api, version: i16, correlation: i32, client: &str, flexible: bool) -> Build {
    Build::default()
        .i16(api.0)
        .i16(version)
        .i32(correlation)
        .string(client, false)
        .tags(flexible)
}

/// An `EndTxn` as librdkafka sends it.
pub fn end_txn(correlation: i32, id: &str, commit: bool) -> Vec<u8> {
    head(Api::END_TXN, 1, correlation, "client", false)
        .string(id, false)
        .i64(77)
        .i16(3)
        .i8(i8::from(commit))
        .frame()
}

/// A request of an API that nobody looks into.
pub fn other(correlation: i32, body: &[u8]) -> Vec<u8> {
    head(Api::METADATA, 12, correlation, "client", true)
        .raw(body)
        .frame()
}
