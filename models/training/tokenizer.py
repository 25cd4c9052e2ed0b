"""Trains the tokenizer: SentencePiece BPE with byte fallback.

    python3 tokenizer.py OUT_PREFIX [VOCABULARY]

Digits stay single tokens (sums, counting and copying depend on it). No dummy
prefix and no normalisation, so that the ids of a text do not depend on where
it stands, and the engine's own tokenizer (llama.cpp's SPM with
add_space_prefix off) gives the same ids.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import sentencepiece

from chat import CONTROL, MARKERS

if __name__ == "__main__":
    prefix, size = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 4096
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text"
        subprocess.run([sys.executable, here / "curriculum.py", "text", "24000", text], check=True)
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=prefix, vocab_size=size, model_type="bpe", byte_fallback=True,
            split_digits=True, add_dummy_prefix=False, remove_extra_whitespaces=False, normalization_rule_name="identity",
            character_coverage=0.9999, required_chars="".join(chr(c) for c in range(33, 127)), max_sentence_length=20000,
            max_sentencepiece_length=16, unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1,
            control_symbols=CONTROL, user_defined_symbols=MARKERS, num_threads=2, minloglevel=1)
