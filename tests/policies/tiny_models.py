"""A small tokenizer, and tiny random models of the families that trueup is tested on."""

from __future__ import annotations

import copy

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    CohereConfig,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

SENTENCES = [
    "The miller carries flour to the baker before the sun is up.",
    "User: Who keeps the keys of the old tower? Assistant: The warden keeps them.",
    "Nobody knows why the river is so cold in summer, and I will not guess.",
    "I'm sorry, I can't help with that; please ask someone who can.",
    "0 1 2 3 4 5 6 7 8 9 Which day is it? system user assistant",
]

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_tokenizer(template: str | None = None, *, bos: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level pairs, 384 tokens."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<pad>", "<bos>", "<eos>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(SENTENCES * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<bos>" if bos else None,
        eos_token="<eos>",
        pad_token="<pad>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    if template:
        tokenizer.chat_template = template
    return tokenizer


VOCABULARY = 384
_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    **_IDS,
}
_GROUPED = {**_SHAPE, "num_key_value_heads": 2}


def configurations() -> dict[str, PretrainedConfig]:
    """By name; a fresh configuration object at every call, since models share the one they are given."""
    return {
        "llama": LlamaConfig(**_GROUPED),
        "qwen2": Qwen2Config(**_GROUPED),
        "qwen3": Qwen3Config(**_GROUPED, head_dim=16),
        "mistral": MistralConfig(**_GROUPED, sliding_window=None),
        "mistral_window": MistralConfig(**_GROUPED, sliding_window=6),
        "mixtral": MixtralConfig(**_GROUPED, num_local_experts=4, num_experts_per_tok=2),
        "gemma": GemmaConfig(**_GROUPED, head_dim=16),
        "gemma2": Gemma2Config(**_GROUPED, head_dim=16, sliding_window=6, final_logit_softcapping=3.0),
        "gemma3": Gemma3TextConfig(
            **{**_GROUPED, "num_hidden_layers": 3}, head_dim=16, sliding_window=6, sliding_window_pattern=2
        ),
        "phi": PhiConfig(**_SHAPE),
        "phi3": Phi3Config(**_GROUPED),
        "olmo2": Olmo2Config(**_GROUPED),
        "gpt_neox": GPTNeoXConfig(**_SHAPE),
        "gpt2": GPT2Config(
            vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.3, **_IDS
        ),
        "opt": OPTConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            ffn_dim=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=256,
            word_embed_proj_dim=16,
            init_std=0.3,
            **_IDS,
        ),
        "cohere": CohereConfig(**_GROUPED, logit_scale=0.25),
        "granite": GraniteConfig(**_GROUPED, logits_scaling=4.0, embedding_multiplier=2.0),
        "gpt_oss": GptOssConfig(**_GROUPED, head_dim=16, num_local_experts=4, sliding_window=6),
        "mamba": MambaConfig(
            vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=8, initializer_range=0.3, **_IDS
        ),
        "bloom": BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3, **_IDS),
        "falcon": FalconConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            initializer_range=0.3,
            **_IDS,
        ),
    }


# Families whose responses must share the prompt: a silent fall-back would pass every other test.
SHARING = [name for name in configurations() if name not in ("mamba", "bloom", "falcon")]

# Mixtures of experts run on a kernel that knows no float64.
SINGLE = ("mixtral", "gpt_oss")


def build_model(name: str, dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    """A random model whose norms, biases and sinks are random too."""
    torch.manual_seed(0)
    dtype = torch.float32 if name in SINGLE else dtype
    model = AutoModelForCausalLM.from_config(configurations()[name]).eval().to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def twin(model: PreTrainedModel) -> PreTrainedModel:
    """An independent copy, as stock as the original was."""
    return copy.deepcopy(model)


def plain_logp(model: PreTrainedModel, prompt: list[int], response: list[int]) -> Tensor:
    """Log-probabilities of a response's tokens by the model's own forward and nothing else."""
    logits = model(input_ids=torch.tensor([[*prompt, *response]]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return logits.log_softmax(-1)[torch.arange(len(response)), torch.tensor(response)]
