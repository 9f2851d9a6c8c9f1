//! Weights, vocabulary and template of a model of SmolLM2's kind.

use std::{
    fs::File,
    io::{self, BufReader, Cursor},
    path::Path,
};

use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor, gguf_file, tokenizer::TokenizerFromGguf},
};
use candle_transformers::models::quantized_llama::{MAX_SEQ_LEN, ModelWeights};
use tokenizers::{
    Tokenizer,
    pre_tokenizers::{PreTokenizerWrapper, byte_level::ByteLevel, digits::Digits, sequence::Sequence},
};

use crate::request::{Message, Part};

/// The most tokens that are read and written together.
pub const CONTEXT_TOKENS: usize = MAX_SEQ_LEN;
/// Tokens of the prompt that are read at once: between two chunks a reader that has gone is noticed.
const CHUNK_TOKENS: usize = 128;

/// What the template says where the request has no system message.
const SYSTEM: &str = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

/// The weights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the weights of the local model at {path}")]
    File {
        /// Where it should be.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The file is not such a model.
    #[error("the file is not a model of SmolLM2's kind")]
    Model {
        /// What candle says.
        source: candle_core::Error,
    },
    /// The system gives no thread.
    #[error("no thread for the local model")]
    Thread {
        /// Why not.
        source: io::Error,
    },
}

impl From<candle_core::Error> for LoadError {
    fn from(source: candle_core::Error) -> Self {
        Self::Model { source }
    }
}

/// A model that can be run.
pub(super) struct Weights {
    pub(super) name: String,
    /// Ends a turn.
    pub(super) end: u32,
    start: u32,
    weights: ModelWeights,
    tokenizer: Tokenizer,
}

impl Weights {
    pub(super) fn load(path: &Path) -> Result<Self, LoadError> {
        let file = File::open(path).map_err(|source| LoadError::File { path: path.display().to_string(), source })?;
        let mut reader = BufReader::new(file);
        let content = gguf_file::Content::read(&mut reader)?;
        let text = |name: &str| content.metadata.get(name).and_then(|value| value.to_string().ok());
        let name = text("general.basename").cloned().unwrap_or_else(|| "local".to_owned());
        let mut tokenizer = Tokenizer::from_gguf(&content)?;
        // candle does not know this pre-tokenizer and takes GPT-2's: digits stand alone here, and no blank comes first.
        if text("tokenizer.ggml.pre").is_some_and(|pre| pre == "smollm") {
            let parts = vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()];
            tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(parts))));
        }
        let special = |token: &str| {
            let missing = || candle_core::Error::Msg(format!("its vocabulary has no {token}"));
            tokenizer.token_to_id(token).ok_or_else(missing)
        };
        let (start, end) = (special("<|im_start|>")?, special("<|im_end|>")?);
        // From here on a message that contains such a token says its letters, not what it means.
        tokenizer.set_encode_special_tokens(true);
        let mut widened = widen(&content, &mut reader)?;
        let content = gguf_file::Content::read(&mut widened)?;
        let weights = ModelWeights::from_gguf(content, &mut widened, &Device::Cpu)?;
        Ok(Self { name, end, start, weights, tokenizer })
    }

    /// The conversation as the model was taught to read it, up to the begin of its own turn.
    pub(super) fn prompt(&self, messages: &[Message]) -> tokenizers::Result<Vec<u32>> {
        let mut prompt = Vec::new();
        if !matches!(messages.first(), Some(Message::System { .. })) {
            self.turn(&mut prompt, "system", SYSTEM)?;
        }
        for message in messages {
            match message {
                Message::System { text, .. } => self.turn(&mut prompt, "system", text)?,
                Message::User { parts, .. } => self.turn(&mut prompt, "user", &user_text(parts))?,
                Message::Assistant(said) => {
                    self.turn(&mut prompt, "assistant", said.text.as_deref().unwrap_or_default())?;
                }
                Message::Tool { text, .. } => self.turn(&mut prompt, "user", text)?,
            }
        }
        prompt.push(self.start);
        prompt.extend(self.tokens("assistant\n")?);
        Ok(prompt)
    }

    fn turn(&self, prompt: &mut Vec<u32>, role: &str, text: &str) -> tokenizers::Result<()> {
        prompt.push(self.start);
        prompt.extend(self.tokens(&format!("{role}\n{text}"))?);
        prompt.push(self.end);
        prompt.extend(self.tokens("\n")?);
        Ok(())
    }

    fn tokens(&self, text: &str) -> tokenizers::Result<Vec<u32>> {
        Ok(self.tokenizer.encode_fast(text, false)?.get_ids().to_vec())
    }

    /// Turns tokens into text, whole characters at a time.
    pub(super) fn decoder(&self) -> Decoder<'_> {
        Decoder(self.tokenizer.decode_stream(true))
    }
}

/// The same model with its quantized weights as halves, which candle then multiplies as floats.
///
/// candle 0.11.1 gets other texts from its products of quantized weights than from floats, for this model in 4 bits and in
/// 8, and the floats agree with llama.cpp. The price is memory, some 650 MB; the test of the real model watches over it.
fn widen<R: io::Read + io::Seek>(content: &gguf_file::Content, reader: &mut R) -> candle_core::Result<Cursor<Vec<u8>>> {
    let mut tensors = Vec::new();
    for name in content.tensor_infos.keys() {
        let tensor = content.tensor(reader, name, &Device::Cpu)?;
        let tensor = match tensor.dtype() {
            GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 => tensor,
            _ => QTensor::quantize(&tensor.dequantize(&Device::Cpu)?, GgmlDType::F16)?,
        };
        tensors.push((name.as_str(), tensor));
    }
    let metadata: Vec<_> = content.metadata.iter().map(|(name, value)| (name.as_str(), value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let mut file = Cursor::new(Vec::new());
    gguf_file::write(&mut file, &metadata, &tensors)?;
    file.set_position(0);
    Ok(file)
}

/// Pictures are passed over: routes that look at what a model can do bring none here.
fn user_text(parts: &[Part]) -> String {
    let mut whole = String::new();
    for part in parts {
        if let Part::Text(text) = part {
            if !whole.is_empty() {
                whole.push('\n');
            }
            whole.push_str(text);
        }
    }
    whole
}

type Stream<'a> = tokenizers::tokenizer::DecodeStream<
    'a,
    tokenizers::ModelWrapper,
    tokenizers::NormalizerWrapper,
    PreTokenizerWrapper,
    tokenizers::PostProcessorWrapper,
    tokenizers::DecoderWrapper,
>;

pub(super) struct Decoder<'a>(Stream<'a>);

impl Decoder<'_> {
    pub(super) fn step(&mut self, token: u32) -> tokenizers::Result<Option<String>> {
        self.0.step(token)
    }
}

/// One run over the weights: it shares them and has a memory of its own.
pub(super) struct Generation {
    weights: ModelWeights,
    position: usize,
}

impl Generation {
    pub(super) fn new(weights: &Weights) -> Self {
        Self { weights: weights.weights.clone(), position: 0 }
    }

    pub(super) fn chunks(prompt: &[u32]) -> impl Iterator<Item = &[u32]> {
        prompt.chunks(CHUNK_TOKENS)
    }

    /// Reads `tokens` and gives the logits of the token after them.
    pub(super) fn read(&mut self, tokens: &[u32]) -> candle_core::Result<Tensor> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = self.weights.forward(&input, self.position)?;
        self.position += tokens.len();
        logits.squeeze(0)
    }
}
