//! Opening a folder of any of the three kinds.

use std::path::{Path, PathBuf};

use crate::{
    Error, MANIFEST_FILE, Manifest, Result,
    digest::{self, ChangedFile, OnProgress, Report},
    error::io,
    genai::{self, DecoderConfig, GenaiConfig},
    hugging_face::{self, HubConfig, SpecialTokens},
    json::{self, CONFIG_BYTES_MAX},
    model_files::ModelFiles,
    root::{NamedBy, Root},
    settings::{IoNames, SearchDefaults, SessionSettings, Shape, SpeculativeSettings},
    tokenizer::{self, TokenizerFiles},
    variants,
    vocabulary::IdMap,
};

/// Kind of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderKind {
    /// With drafthorse.json.
    Pack,
    /// With genai_config.json.
    Genai,
    /// With config.json and `onnx/model*.onnx`.
    HuggingFace,
}

/// A folder whose files were found, measured and understood. Nothing has been run, and no digest compared yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    /// The folder, as the caller wrote it.
    pub path: PathBuf,
    /// Its kind.
    pub kind: FolderKind,
    /// Architecture as the folder names it ("llama", "qwen2", …); may be empty.
    pub model_type: String,
    /// The variant opened, in a Hugging Face folder.
    pub variant: Option<String>,
    /// The model whose text it is.
    pub target: ModelFiles,
    /// The model that proposes, if there is one.
    pub drafter: Option<ModelFiles>,
    /// The tokenizer of both.
    pub tokenizer: TokenizerFiles,
    /// Tokens that end a generation.
    pub eos_tokens: Vec<u32>,
    /// Token that begins a sequence.
    pub bos_token: Option<u32>,
    /// Padding.
    pub pad_token: Option<u32>,
    /// Defaults of generation.
    pub search: SearchDefaults,
    /// How onnxruntime-genai is to speculate, where the folder says. Here lengths of drafts follow from measured costs.
    pub speculative: Option<SpeculativeSettings>,
    /// The manifest of a pack.
    pub manifest: Option<Manifest>,
    /// Where a drafter from elsewhere came from, with the manifest of its folder.
    pub drafter_source: Option<DrafterSource>,
    /// Dotted names of settings that were passed over: not known here, or not a folder's to decide.
    pub unknown_keys: Vec<String>,
    /// What a person might want to know: settings without effect, slow or lossy arithmetic.
    pub notes: Vec<String>,
    pub(crate) root: Root,
}

/// Where a drafter from elsewhere came from.
#[derive(Clone, Debug, PartialEq)]
pub struct DrafterSource {
    /// The folder.
    pub path: PathBuf,
    /// Its manifest, if it is a pack.
    pub manifest: Option<Manifest>,
    pub(crate) root: Root,
}

/// Model types whose graphs may change their rotary factors once a text is longer than this (an `If` node chooses), while
/// keys in the cache keep those they were made with. onnxruntime-genai then computes the cache anew.
const LONG_ROPE: [(&str, usize); 3] = [("phi3", 4096), ("phi3small", 8192), ("phimoe", 4096)];

/// Opens one folder, whose drafter is its own if it has one.
pub(crate) fn open_one(folder: &Path, variant: Option<&str>, allowed_roots: &[PathBuf]) -> Result<Folder> {
    let root = Root::new(folder, allowed_roots)?;
    if let Some(path) = root.optional(MANIFEST_FILE)? {
        let manifest = Manifest::read(&path)?;
        let mut opened = open_genai(root, Some((path, manifest)))?;
        opened.kind = FolderKind::Pack;
        check_listed(&opened)?;
        return Ok(opened);
    }
    if root.optional(genai::FILE)?.is_some() {
        return open_genai(root, None);
    }
    if root.optional("config.json")?.is_some() {
        return open_hugging_face(root, variant);
    }
    if root.optional("manifest.json")?.is_some() {
        let reason = "is an onnxruntime-genai model package; open the folder of one of its variants";
        return Err(Error::UnknownFolder { folder: folder.to_owned(), reason: reason.into() });
    }
    let reason = "holds neither drafthorse.json, genai_config.json nor config.json";
    Err(Error::UnknownFolder { folder: folder.to_owned(), reason: reason.into() })
}

fn open_genai(root: Root, manifest: Option<(PathBuf, Manifest)>) -> Result<Folder> {
    let path = root.required(genai::FILE, "it says which files are the model")?;
    let config = genai::parse(&path, &json::read_bounded(&path, CONFIG_BYTES_MAX)?)?;
    let GenaiConfig { mut unknown, .. } = config;
    let mut notes = Vec::new();
    let whole = Shape { vocab_len: config.vocab_len, context_len: config.context_len, ..Shape::default() };
    let load = |decoder: DecoderConfig, by: NamedBy<'_>, notes: &mut Vec<String>| {
        let onnx = root.named(&decoder.filename, by)?;
        let decoder = DecoderConfig { shape: decoder.shape.or(whole), ..decoder };
        let mut model = ModelFiles::read(&root, onnx, decoder, notes)?;
        model.shared_buffer = config.shared_buffer;
        Ok::<_, Error>(model)
    };
    let mut target = load(config.decoder, NamedBy { path: &path, field: "model.decoder.filename" }, &mut notes)?;
    let mut drafter = match config.draft {
        Some(draft) => Some(load(draft, NamedBy { path: &path, field: "model.draft.filename" }, &mut notes)?),
        None => None,
    };
    if let Some((manifest_path, manifest)) = &manifest
        && let Some(record) = &manifest.drafter
    {
        if let Some(block) = &record.decoder {
            let block = genai::parse_decoder(manifest_path, block, &mut unknown)?;
            let by = NamedBy { path: manifest_path, field: "drafter.decoder.filename" };
            drafter =
                Some(load(DecoderConfig { shape: Shape { vocab_len: None, ..block.shape }, ..block }, by, &mut notes)?);
        }
        if let Some(file) = &record.id_map {
            let file = root.named(file, NamedBy { path: manifest_path, field: "drafter.id_map" })?;
            // In a folder of a drafter alone the drafter is the only model.
            drafter.as_mut().unwrap_or(&mut target).id_map = Some(IdMap::read(&file)?);
        }
    }
    if let Some(drafter) = &mut drafter {
        // The configuration has one flag for both models; a drafter that cannot share a buffer grows its cache.
        let can = drafter.can_share_buffer() || !target.can_share_buffer();
        drafter.shared_buffer = drafter.shared_buffer.map(|shared| shared && can);
    }
    let mut search = config.search;
    if manifest.is_some() {
        // What onnxruntime-genai has no keys for.
        let (more, _) = generation_beside(&root)?;
        search.min_p = search.min_p.or(more.min_p);
        search.min_new_tokens = search.min_new_tokens.or(more.min_new_tokens);
        search.max_new_tokens = search.max_new_tokens.or(more.max_new_tokens);
    }
    let beside = if config.eos.is_empty() { tokens_beside(&root)? } else { SpecialTokens::default() };
    let tokens = SpecialTokens { eos: config.eos, bos: config.bos, pad: config.pad }.or(beside);
    let mut folder = Folder {
        path: root.folder().to_owned(),
        kind: FolderKind::Genai,
        model_type: config.model_type,
        variant: None,
        target,
        drafter,
        tokenizer: tokenizer::find(&root, config.tokenizer_dir.as_deref().unwrap_or(""))?,
        eos_tokens: tokens.eos,
        bos_token: tokens.bos,
        pad_token: tokens.pad,
        search,
        speculative: config.speculative,
        manifest: manifest.map(|(_, manifest)| manifest),
        drafter_source: None,
        unknown_keys: unknown,
        notes,
        root,
    };
    let long_rope = LONG_ROPE.iter().find(|(model_type, _)| *model_type == folder.model_type);
    if let Some(&(_, len)) = long_rope.filter(|_| folder.target.header.count("If") > 0) {
        folder.limit_context(len);
    }
    folder.note_settings();
    Ok(folder)
}

/// What generation_config.json says, or nothing where there is none.
fn generation_beside(root: &Root) -> Result<(SearchDefaults, SpecialTokens)> {
    match root.optional(hugging_face::GENERATION_FILE)? {
        Some(path) => hugging_face::parse_generation(&path, &json::read_bounded(&path, CONFIG_BYTES_MAX)?),
        None => Ok(Default::default()),
    }
}

/// Special tokens of generation_config.json and then config.json, for a genai_config.json without end tokens.
fn tokens_beside(root: &Root) -> Result<SpecialTokens> {
    let (_, mut tokens) = generation_beside(root)?;
    if let Some(path) = root.optional("config.json")? {
        tokens = tokens.or(hugging_face::parse_config(&path, &json::read_bounded(&path, CONFIG_BYTES_MAX)?)?.tokens);
    }
    Ok(tokens)
}

fn open_hugging_face(root: Root, variant: Option<&str>) -> Result<Folder> {
    let path = root.required("config.json", "it describes the model")?;
    let HubConfig { model_type, shape, tokens, short_rope_len } =
        hugging_face::parse_config(&path, &json::read_bounded(&path, CONFIG_BYTES_MAX)?)?;
    let (search, generation) = generation_beside(&root)?;
    let chosen = variants::choose(&root, variant)?;
    let onnx = root.named(&chosen.file, NamedBy { path: root.folder(), field: "variant" })?;
    let mut notes = Vec::new();
    let decoder =
        DecoderConfig { filename: chosen.file, io: IoNames::default(), session: SessionSettings::default(), shape };
    let target = ModelFiles::read(&root, onnx, decoder, &mut notes)?;
    let tokens = generation.or(tokens);
    let mut folder = Folder {
        path: root.folder().to_owned(),
        kind: FolderKind::HuggingFace,
        model_type,
        variant: Some(chosen.name),
        target,
        drafter: None,
        tokenizer: tokenizer::find(&root, "")?,
        eos_tokens: tokens.eos,
        bos_token: tokens.bos,
        pad_token: tokens.pad,
        search,
        speculative: None,
        manifest: None,
        drafter_source: None,
        unknown_keys: Vec::new(),
        notes,
        root,
    };
    if let Some(len) = short_rope_len {
        folder.limit_context(len);
    }
    folder.note_settings();
    Ok(folder)
}

/// Every file of a pack that was opened must be in its manifest, with its length: an added chat template or tokenizer
/// would change the text as surely as changed weights.
fn check_listed(folder: &Folder) -> Result<()> {
    let Some(manifest) = &folder.manifest else { return Ok(()) };
    let mut report = Report::default();
    for path in folder.opened_files() {
        let Ok(relative) = path.strip_prefix(&folder.path) else { continue };
        let name = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        let bytes = path.metadata().map_err(io(&path))?.len();
        match manifest.files.get(&name) {
            None => report.extra.push(name),
            Some(recorded) if recorded.bytes != bytes => {
                let reason = format!("{bytes} bytes, recorded {}", recorded.bytes);
                report.changed.push(ChangedFile { path: name, reason });
            }
            Some(_) => report.intact += 1,
        }
    }
    if report.changed.is_empty() && report.extra.is_empty() {
        Ok(())
    } else {
        Err(Error::Damaged { folder: folder.path.clone(), report })
    }
}

impl Folder {
    /// Most tokens that the target was made for, where the folder says.
    pub fn context_len(&self) -> Option<usize> {
        self.target.shape.context_len
    }

    /// Compares every file with the manifests of the pack and of a drafter's pack. Call it before anything is run.
    ///
    /// Returns the report of the pack; `None` if the folder has no manifest.
    ///
    /// # Errors
    /// `Damaged` naming each file that differs, `Io`, or `Cancelled`.
    pub fn check_digests(&self, progress: OnProgress<'_>) -> Result<Option<Report>> {
        if let Some(source) = &self.drafter_source
            && let Some(manifest) = &source.manifest
        {
            intact(&source.path, digest::verify_against(&source.root, manifest, progress)?)?;
        }
        match &self.manifest {
            None => Ok(None),
            Some(manifest) => intact(&self.path, digest::verify_against(&self.root, manifest, progress)?).map(Some),
        }
    }

    /// `model_digest` of the target by the manifest's digests, without reading the weights again.
    pub fn target_digest(&self) -> Option<String> {
        self.recorded_digest(&self.target)
    }

    /// `model_digest` of a model of this folder by the manifest's digests; `None` where no manifest tells.
    pub fn recorded_digest(&self, model: &ModelFiles) -> Option<String> {
        let manifest = self.manifest.as_ref()?;
        let digests = model.paths().map(|path| {
            let relative = path.strip_prefix(&self.path).ok()?;
            let name = relative.to_str()?.replace('\\', "/");
            manifest.files.get(&name).map(|file| file.sha256.clone())
        });
        Some(digest::joint_digest(&digests.collect::<Option<Vec<_>>>()?))
    }

    /// The file `name` in `folder`, which lies in this folder, if there is one.
    pub(crate) fn file_beside(&self, folder: &Path, name: &str) -> Result<Option<PathBuf>> {
        self.root.beside(folder, name)
    }

    /// Files that were read to describe the folder, and those that a session will open.
    fn opened_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.target.paths().map(Path::to_owned).collect();
        files.extend(self.drafter.iter().flat_map(ModelFiles::paths).map(Path::to_owned));
        files.extend([genai::FILE, hugging_face::GENERATION_FILE, "config.json"].map(|name| self.path.join(name)));
        let tokenizer = self.tokenizer.path.parent().unwrap_or(&self.path);
        files.extend(tokenizer::FILES.map(|name| tokenizer.join(name)));
        let id_map = self.manifest.as_ref().and_then(|manifest| manifest.drafter.as_ref()?.id_map.as_ref());
        files.extend(id_map.map(|name| self.path.join(name)));
        files.retain(|path| path.exists());
        files
    }

    /// Ends the target's context where its keys would no longer fit together.
    fn limit_context(&mut self, len: usize) {
        let context_len = &mut self.target.shape.context_len;
        if context_len.is_none_or(|declared| declared > len) {
            *context_len = Some(len);
            self.notes.push(format!("the context ends at {len} tokens, where the model changes its rotary factors"));
        }
    }

    fn note_settings(&mut self) {
        if self.eos_tokens.is_empty() {
            self.notes.push("no end token is stated: generation ends at its limit or at a stop text".into());
        }
        let models = || [Some(&self.target), self.drafter.as_ref()].into_iter().flatten();
        let any_session = |states: fn(&SessionSettings) -> bool| models().any(|model| states(&model.session));
        let without_effect = [
            ("search.no_repeat_ngram_size", self.search.no_repeat_ngram_size.is_some_and(|size| size > 0)),
            ("search.chunk_size", self.search.chunk_len.is_some()),
            ("session_options.inter_op_num_threads", any_session(|session| session.inter_op_threads.is_some())),
            (
                "session_options.graph_optimization_level",
                any_session(|session| session.graph_optimization_level.is_some()),
            ),
        ];
        let without_effect = without_effect.into_iter().filter(|(_, stated)| *stated);
        let mut notes: Vec<_> = without_effect.map(|(name, _)| format!("{name} has no effect here")).collect();
        if self.speculative.is_some_and(|settings| settings != SpeculativeSettings::default()) {
            notes.push("speculative has no effect here: lengths of drafts follow from measured costs".into());
        }
        self.notes.extend(notes);
        if let Some(width) = self.target.shape.vocab_len
            && let Some(token) = self.eos_tokens.iter().find(|&&token| token as usize >= width)
        {
            self.notes.push(format!("end token {token} is beyond the {width} columns of the logits"));
        }
    }
}

fn intact(folder: &Path, report: Report) -> Result<Report> {
    if report.is_intact() { Ok(report) } else { Err(Error::Damaged { folder: folder.to_owned(), report }) }
}
