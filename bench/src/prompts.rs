//! The prompts: built in, or from a JSONL file in any of the usual forms. Task labels are kept.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::Plan;
use crate::{Error, Result};

/// A file of prompts may not be larger.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A prompt with its task: a text to continue, or the user's turns of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PromptSpec {
    /// Label under which answers are grouped.
    pub task: String,
    /// A text to continue as it is; absent where there are turns.
    pub text: Option<String>,
    /// What the user says, turn by turn; the answers come in between.
    pub turns: Vec<String>,
}

impl PromptSpec {
    fn text(task: &str, text: &str) -> Self {
        Self { task: task.into(), text: Some(text.into()), turns: Vec::new() }
    }
}

/// The prompts of `plan`, at most as many as it asks for.
///
/// # Errors
/// `Prompts` naming the line that cannot be used, `Io`, or `Plan` if there is no prompt.
pub(crate) fn of_plan(plan: &Plan) -> Result<Vec<PromptSpec>> {
    let all = match (&plan.prompts_file, plan.prompts.is_empty()) {
        (_, false) => plan.prompts.clone(),
        (Some(path), true) => read(path)?,
        (None, true) => built_in(),
    };
    if let Some(index) = all.iter().position(|prompt| prompt.text.is_some() != prompt.turns.is_empty()) {
        let reason = format!("number {}: either `text` or `turns`", index + 1);
        return Err(Error::Plan { field: "prompts", reason });
    }
    let chosen = spread(&all, plan.prompts_max);
    if chosen.is_empty() {
        return Err(Error::Plan { field: "prompts_file", reason: "it holds no prompt".into() });
    }
    Ok(chosen)
}

/// At most `count` of `all`, evenly spread, so that every task of a sorted file is met.
fn spread(all: &[PromptSpec], count: usize) -> Vec<PromptSpec> {
    let taken = count.min(all.len());
    (0..taken).map(|index| all[index * all.len() / taken].clone()).collect()
}

/// Reads a JSONL file. A line has `prompt` or `text`, or `turns`, or `question`; its task is `task`, `category` or
/// `type`, else `gsm8k` where the answer ends as GSM8K's do, else the file's name.
fn read(path: &Path) -> Result<Vec<PromptSpec>> {
    let bytes = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if bytes > FILE_BYTES_MAX {
        let reason = format!("{bytes} bytes; at most {FILE_BYTES_MAX} are read");
        return Err(Error::Prompts { path: path.into(), line: 1, reason });
    }
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            parse(line, &name).map_err(|reason| Error::Prompts { path: path.into(), line: index + 1, reason })
        })
        .collect()
}

fn parse(line: &str, file_name: &str) -> Result<PromptSpec, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let field = |names: &[&str]| names.iter().find_map(|name| value[*name].as_str()).map(str::to_owned);
    let is_gsm8k = value["answer"].as_str().is_some_and(|answer| answer.contains("####"));
    let task = field(&["task", "category", "type"])
        .unwrap_or_else(|| if is_gsm8k { "gsm8k".to_owned() } else { file_name.to_owned() });
    if let Some(text) = field(&["prompt", "text"]) {
        return Ok(PromptSpec { task, text: Some(text), turns: Vec::new() });
    }
    let turns: Vec<String> = match (&value["turns"], field(&["question"])) {
        (Value::Array(turns), _) => {
            let text = |turn: &Value| {
                turn.as_str().map(str::to_owned).ok_or_else(|| format!("`turns` holds {turn}, which is no text"))
            };
            turns.iter().map(text).collect::<Result<_, _>>()?
        }
        (_, Some(question)) => vec![question],
        _ => Vec::new(),
    };
    if turns.is_empty() {
        return Err("a line needs `prompt`, `text`, `turns` or `question`".into());
    }
    Ok(PromptSpec { task, text: None, turns })
}

/// What is measured where nobody says otherwise: four kinds of text, from free to repetitive.
fn built_in() -> Vec<PromptSpec> {
    const PROMPTS: [(&str, &str); 12] = [
        ("story", "Once upon a time, a small boat lay on the shore of a blue lake."),
        (
            "maths",
            "Question: A shop sells pens in boxes of 12. Mia buys 3 boxes and gives 7 pens away. How many pens does she have left?\nAnswer:",
        ),
        ("dialogue", "User: I lost my keys this morning and had to walk home.\nBot:"),
        (
            "rewriting",
            "Tom had a red ball. Tom liked to kick the red ball. One day Tom lost the red ball. The same story again: Tom had a red ball. Tom liked to",
        ),
        ("story", "One day, a girl named Ana found a little bird under a tree. The bird could not fly."),
        (
            "maths",
            "Question: A train has 8 cars with 45 seats each. 290 seats are taken. How many seats are free?\nAnswer:",
        ),
        ("dialogue", "User: My sister is coming to visit next week. What should we cook?\nBot:"),
        ("rewriting", "List of names: Anna, Ben, Clara, Daniel, Emma. The same list once more: Anna, Ben,"),
        ("story", "There was a big dog who was afraid of the rain. His friend, a gray cat,"),
        ("maths", "Question: Sam reads 15 pages a day. His book has 210 pages. How many days does he need?\nAnswer:"),
        ("dialogue", "User: Hey, how did the game go yesterday?\nBot:"),
        (
            "rewriting",
            "Lily said, \"I want to play in the park.\" Her mom said, \"You can play in the park.\" Lily said, \"I want to play",
        ),
    ];
    PROMPTS.iter().map(|(task, text)| PromptSpec::text(task, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn the_usual_files_are_read_as_they_are() {
        let file = file(concat!(
            r#"{"question_id": 81, "category": "writing", "turns": ["Describe a lake.", "Shorter, please."]}"#,
            "\n\n",
            r#"{"question": "How many eggs?", "answer": "2+2=<<2+2=4>>4 eggs.\n#### 4"}"#,
            "\n",
            r#"{"task": "free", "prompt": "Once"}"#,
            "\n",
        ));
        let prompts = read(file.path()).unwrap();
        assert_eq!(prompts[0].task, "writing");
        assert_eq!(prompts[0].turns, ["Describe a lake.", "Shorter, please."]);
        assert_eq!((prompts[1].task.as_str(), prompts[1].turns.len()), ("gsm8k", 1));
        assert_eq!((prompts[2].task.as_str(), prompts[2].text.as_deref()), ("free", Some("Once")));
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named() {
        for (text, part) in [
            ("{}\n", "`turns`"),
            ("{\"turns\": []}", "`turns`"),
            ("{\"prompt\"", "EOF"),
            ("{\"turns\": [\"a\", 7]}", "holds 7"),
        ] {
            let path = file(&format!("{{\"prompt\": \"a\"}}\n{text}"));
            let error = read(path.path()).unwrap_err().to_string();
            assert!(error.contains("line 2") && error.contains(part), "{error}");
        }
    }

    #[test]
    fn fewer_prompts_are_spread_over_the_file() {
        let plan = Plan { pack: "p".into(), prompts_max: 4, ..Plan::default() };
        let tasks: Vec<String> = of_plan(&plan).unwrap().into_iter().map(|prompt| prompt.task).collect();
        assert_eq!(tasks, ["story", "rewriting", "dialogue", "maths"]);
        let all = of_plan(&Plan { prompts_max: 100, ..plan }).unwrap();
        assert_eq!(all.len(), 12);
    }

    #[test]
    fn a_prompt_is_text_or_turns() {
        let both = PromptSpec { task: "t".into(), text: Some("a".into()), turns: vec!["b".into()] };
        let plan = |prompt| Plan { pack: "p".into(), prompts: vec![prompt], ..Plan::default() };
        assert!(of_plan(&plan(both)).is_err());
        assert!(of_plan(&plan(PromptSpec::default())).is_err());
    }
}
