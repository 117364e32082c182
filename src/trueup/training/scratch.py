"""Models made from nothing: random weights, a tokenizer and reading matter, trained once and kept in the cache."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from filelock import FileLock
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from trueup.errors import ModelError
from trueup.feedback import Feedback
from trueup.objectives import SFT
from trueup.policies import Policy
from trueup.policies.blueprint import Blueprint
from trueup.training.files import appearing, cache_folder, content_hash
from trueup.training.progress import Progress
from trueup.training.settings import Settings
from trueup.training.sources import Offline
from trueup.training.trainer import Trainer
from trueup.validation import validate

# Part of every cache key: raise it when the same blueprint would make another model.
FORMAT = 1

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"


def build(blueprint: Blueprint, *, cache: str | Path | None = None, progress: Progress | None = None) -> Policy:
    """The model of `blueprint`: from the cache, or trained now and left there.

    It is kept in `cache` (default: the user's cache folder) under a hash of the blueprint's key, configuration and
    settings and of the torch release. The same blueprint gives the same weights, bit for bit on one machine's CPU with
    one number of threads. A build that was stopped goes on where it was; two at once wait for one another.

    Raises:
        RecipeError: the blueprint's settings are not valid.
        FeedbackError: its demonstrations cannot be trained on.
        TrainingError: the training stopped.
    """
    settings = validate(Settings, dict(blueprint.settings), where=f"blueprint {blueprint.name}")
    key = {
        "format": FORMAT,
        "torch": torch.__version__,
        "key": dict(blueprint.key),
        "config": blueprint.config.to_dict(),
        "settings": settings.decisive(),
    }
    target = cache_folder(cache) / "models" / f"{blueprint.name}-{content_hash(key)}"
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if not target.is_dir():
                _train(blueprint, settings, target, progress)
    policy = Policy.load(target)
    policy.name = blueprint.name
    return policy


def _train(blueprint: Blueprint, settings: Settings, target: Path, progress: Progress | None) -> None:
    """Trains the model and writes it to `target`; what is done stays beside it until then."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        # A copy: making a model writes into its configuration, and the cache key is a hash of it.
        model = AutoModelForCausalLM.from_config(copy.deepcopy(blueprint.config), dtype=torch.float32)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = Policy(model.to(device), blueprint.tokenizer(), name=blueprint.name)
    source = Offline(Feedback(blueprint.demonstrations(), source=f"blueprint {blueprint.name}"))
    partial = target.with_suffix(".partial")
    Trainer(policy, SFT(), source, settings=settings, folder=partial, progress=progress).run()
    with appearing(target, kept=f"the training is kept in {partial}") as place:
        policy.save(place)
    shutil.rmtree(partial)


def byte_bpe(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of `vocab_size` tokens trained on `texts` (Sennrich et al. 2016, over bytes).

    Ids 0, 1, 2 are the tokens that begin a text, end it and pad it. It has no chat template, so that a policy writes
    conversations in its plain format.

    Raises:
        ModelError: `vocab_size` has no room for the 256 bytes, or the texts are too small to fill it.
    """
    special = [BOS, EOS, PAD]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocab_size < len(alphabet) + len(special):
        need = len(alphabet) + len(special)
        raise ModelError(f"a byte-level vocabulary needs at least {need} tokens, not {vocab_size}.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() < vocab_size:
        found = tokenizer.get_vocab_size()
        raise ModelError(f"the texts give a vocabulary of {found} tokens, not {vocab_size}.", fix="Ask for fewer.")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD)
