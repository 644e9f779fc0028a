//! Chat templates: from messages to the text of a prompt, as Hugging Face renders them.

mod clock;
mod dumps;
mod message;
mod template;

pub use self::clock::LocalTime;
pub use self::message::{Content, Message};
pub use self::template::{Chat, ChatTemplate};
