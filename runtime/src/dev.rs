//! What a developer's machine needs and a server does not: builds of transforms, and a
//! pipeline with a broker, topics and input of its own.

pub mod build;
pub mod feed;
pub mod sample;
pub mod screen;
pub mod session;
mod signals;
pub mod status;
pub mod topics;
pub mod watch;
