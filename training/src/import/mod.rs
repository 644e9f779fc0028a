//! Models as people have them: Hugging Face folders and llama2.c files.

pub mod hugging_face;
pub mod llama2c;
