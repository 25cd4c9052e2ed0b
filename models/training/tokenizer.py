"""Trains the tokenizer: SentencePiece BPE with byte fallback, and a rule about spaces.

    python3 tokenizer.py OUT_PREFIX [VOCABULARY]

A word gets the same pieces wherever it stands: after a space, a quote, a
slash. Only so can a small model copy a word that it never saw; with the usual
pieces that carry their space along, " acorn" and "acorn" are strangers to each
other. So the pieces are learnt on words without spaces, and the space is a
piece of its own. Frequent words of the questions and answers get a piece with
the space in front (it saves a fifth of the tokens); words of the word lists
never do, nor words that others begin with, nor any of fewer than three letters.

Capitals stay single letters, but for words that the answers are full of.
Digits stay single (sums, counting and copying depend on it). No dummy prefix
and no normalisation, so that the ids of a text do not depend on where it
stands, and the engine's own tokenizer (llama.cpp's SPM with add_space_prefix
off) gives the same ids.
"""

import collections
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb

from chat import CONTROL, MARKERS

SPACED = 440    # words that get a piece with their space
FIXED = ["▁▁", "▁▁▁▁", ",▁", '":▁', '",▁', ':▁', '▁{"', '":▁"', '",▁"', '":▁{"', ".▁"]
# In an order in which each can be made of two that stand before it.
PARTS = ['":', '",', '{"']


def main():
    prefix, size = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 4096
    here = Path(__file__).parent
    import words
    listed = {w.lower() for name in words.LISTS for w in getattr(words, name)}
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text"
        subprocess.run([sys.executable, here / "curriculum.py", "text", "24000", text], check=True)
        spaced = collections.Counter()
        parts = Path(folder) / "parts"
        with open(parts, "w", encoding="utf-8") as out:
            for line in open(text, encoding="utf-8"):
                for w in line.split():
                    # Words in capitals are spelt, but for a few; so they are left out here.
                    out.write(re.sub(r"[A-Z]{2,}", lambda m: m[0] if m[0] in KEPT else " ", w).replace(" ", "\n") + "\n")
                spaced.update(m[1] for m in re.finditer(r" ([A-Za-z]{3,})(?![A-Za-z])", line))
        # None that another word begins with (" signal" would be " sign", "al"), and none that the held-out split asks about.
        longer = listed | set(words.ENGLISH)
        keep = [w for w, _ in spaced.most_common() if w.lower() not in listed and w.lower().rstrip("s") not in listed and not w.isupper()
                and (w in ("the", "and", "for", "you", "with", "that", "this") or not words.held_out(w.lower()) and not any(x != w and x.startswith(w.lower()) for x in longer))]
        sentencepiece.SentencePieceTrainer.train(
            input=str(parts), model_prefix=prefix, vocab_size=size - SPACED - len(FIXED) - len(PARTS), model_type="bpe", byte_fallback=True,
            split_digits=True, add_dummy_prefix=False, remove_extra_whitespaces=False, normalization_rule_name="identity",
            character_coverage=0.9999, required_chars="".join(chr(c) for c in range(33, 127)) + "▁", max_sentence_length=20000,
            max_sentencepiece_length=14, unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1,
            control_symbols=CONTROL, user_defined_symbols=MARKERS, num_threads=1, minloglevel=1)
        model = pb.ModelProto()
        model.ParseFromString(Path(prefix + ".model").read_bytes())
        there = {p.piece for p in model.pieces}
        # A spaced piece needs its word as a piece, for it is made of the two.
        extra = [p for p in PARTS if p not in there] + FIXED + ["▁" + w for w in keep if w in there]
        extra = extra[:size - len(model.pieces)]
        # Merges come first in the order of their scores; characters have the lowest, as SentencePiece has it.
        merged = [p for p in model.pieces if p.type == 1 and len(p.piece) > 1]
        single = [p for p in model.pieces if p.type == 1 and len(p.piece) == 1]
        others = [p for p in model.pieces if p.type != 1]
        del model.pieces[:]
        for p in others: model.pieces.add().CopyFrom(p)
        score = 0
        for piece in [p.piece for p in merged] + extra + [p.piece for p in single]:
            model.pieces.add(piece=piece, score=score, type=1)
            score -= 1
        Path(prefix + ".model").write_bytes(model.SerializeToString())
        assert len(model.pieces) == size, f"{size - len(model.pieces)} pieces too few: SPACED is too large"
        Path(prefix + ".vocab").unlink(missing_ok=True)
        print(len(model.pieces), "pieces,", len(merged), "merged,", len(extra), "spaced")


KEPT = set("""API SSE JSON GGUF HTTP POST GET GPU CPU URL SDK KV LLM TOML CORS PENSIEVE ANTHROPIC CLAUDE CODE FILE BASE MODEL AUTH
    TOKEN TOKENS KEY MAX CONTEXT CLI RAM MB GB GiB DIR NAME IN OK ID""".split())

if __name__ == "__main__":
    main()
