"""Makes tiny tokenizers of every kind, and texts with the ids that the tokenizers library gives them.

Writes vocab/NAME/{tokenizer.json,tokenizer_config.json,cases.json}. Run with transformers and
tokenizers installed:

    python make_vocab.py
"""

import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers as pre
from tokenizers import processors, trainers
from transformers.convert_slow_tokenizer import generate_merges

OUT = Path(__file__).with_name("vocab")

CORPUS = """
The quick brown fox jumps over the lazy dog. It's what they'd have said, isn't it?
In 2024 there were 1234567 reasons and 42 answers; 3.14159 is one of them.
def main(args):\n    for i in range(10):\n        print(i, "hello", 'world')\n    return 0
Äpfel und Öl, ein großer Straßenname; l'été à la plage, ça va très bien.
Привет, мир! Как дела? Всё хорошо, спасибо.
今天天气很好，我们去公园吧。東京は日本の首都です。
WHAT IS the capital of France? The capital of France is Paris.
<b>bold</b> & "quoted" | piped = [1, 2, 3] {a: b} $x_1 #tag @user ~/path/to/file.txt
""".strip() * 3

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+""",
]

SPECIALS = ["<|begin|>", "<|im_start|>", "<|im_end|>"]
PLAIN = ["<think>", "</think>"]


def texts():
    rng = random.Random(7)
    fixed = [
        "", " ", "  ", "\n", "\t \n  \n", "Hello", " Hello", "Hello  world", "hello\n\nworld \n ",
        "It's THEY'RE we'll I'd 'tis", "123 1234 12345678 3.14", "Äpfel naïve café cafe\u0301 Straße",
        "Привет мир", "今天天气很好 東京", "🦙🦙 😶‍🌫️ \u200b\u00a0x\u3000y", "def f(x):\n\treturn x  # ok\r\n",
        "<|im_start|>user\nHi<|im_end|>", "a<|im_end|><|im_end|> b", "<think>hmm</think> so", "<|im_|im_end|>",
        "<s> </s> <unk> [CLS] [MASK] <0x41> <0x0A>", "▁a ▁ _", "Ġhello Ċ", "a" * 70, "=" * 33, "ab" * 40,
        "\x00\x01\x7f\x80", "\ufffd\uffff", "İstanbul ﬁne ½ ² Ⅳ",
    ]
    pool = list("aeinost THE.,'\"!?0123 \n\t-_<>|[]{}()äéßЖ我🦙\u0301\u00a0") + SPECIALS + PLAIN + ["im_end", "'ll", "  "]
    return fixed + ["".join(rng.choice(pool) for _ in range(rng.randint(1, 40))) for _ in range(60)]


def byte_level(name, pre_tokenizer, normalizer=None, ignore_merges=False, begin=False):
    tok = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer:
        tok.normalizer = normalizer
    tok.pre_tokenizer = pre_tokenizer
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=440, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False)
    tok.train_from_iterator([CORPUS], trainer)
    finish(tok)
    if begin:
        tok.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<|begin|> $A", pair="<|begin|> $A <|begin|> $B", special_tokens=[("<|begin|>", tok.token_to_id("<|begin|>"))]),
        ])
    write(name, tok, {"bos_token": "<|begin|>" if begin else None, "eos_token": {"content": "<|im_end|>"}})


def finish(tok):
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIALS])
    tok.add_tokens([AddedToken(t, special=False, normalized=False) for t in PLAIN])


def sentence_bpe():
    # Pieces with scores, as SentencePiece has them: the library's own merges give the pieces.
    probe = Tokenizer(models.BPE())
    probe.pre_tokenizer = pre.Metaspace(prepend_scheme="always")
    probe.train_from_iterator([CORPUS], trainers.BpeTrainer(vocab_size=330, show_progress=False))
    merges = json.loads(probe.to_str())["model"]["merges"]
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    scores = [0.0] * len(pieces)
    for left, right in merges:
        pieces.append(left + right)
        scores.append(-float(len(scores) - 259))
    for char in sorted({c for piece in pieces[259:] for c in piece} | set("abcdefghijklmnopqrstuvwxyz▁")):
        if char not in pieces:
            pieces.append(char)
            scores.append(-float(len(scores) - 259))
    vocab = {piece: i for i, piece in enumerate(pieces)}
    ordinary = {p: s for p, s, i in zip(pieces, scores, range(len(pieces))) if i >= 259}
    pairs = generate_merges({p: i for p, i in vocab.items() if i >= 259}, ordinary)
    tok = Tokenizer(models.BPE(vocab, pairs, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    finish(tok)
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    write("sentence-bpe", tok, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}, scores=scores)


def unigram():
    tok = Tokenizer(models.Unigram())
    tok.pre_tokenizer = pre.Metaspace(prepend_scheme="always")
    tok.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False)
    tok.train_from_iterator([CORPUS], trainer)
    finish(tok)
    tok.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    scores = [score for _, score in json.loads(tok.to_str())["model"]["vocab"]]
    write("unigram", tok, {"eos_token": "</s>", "unk_token": "<unk>"}, scores=scores)


def word_piece():
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tok.normalizer = normalizers.BertNormalizer(lowercase=True)
    tok.pre_tokenizer = pre.BertPreTokenizer()
    tok.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False)
    tok.train_from_iterator([CORPUS], trainer)
    tok.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    write("word-piece", tok, {"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"})


def write(name, tok, config, scores=None):
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(tok.to_str()), ensure_ascii=False) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
    cases = []
    for text in texts():
        tok.encode_special_tokens = False
        special = tok.encode(text, add_special_tokens=True)
        parsed = tok.encode(text, add_special_tokens=False)
        tok.encode_special_tokens = True
        plain = tok.encode(text, add_special_tokens=False)
        cases.append({"text": text, "plain": plain.ids, "parsed": parsed.ids, "special": special.ids, "decoded": tok.decode(plain.ids, skip_special_tokens=True)})
    (folder / "cases.json").write_text(json.dumps({"scores": scores, "cases": cases}, ensure_ascii=False).replace('}, {"text"', '},\n{"text"') + "\n")
    print(name, tok.get_vocab_size(), len(cases))


def main():
    byte = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    isolated = lambda regex: pre.Split(Regex(regex), "isolated", invert=False)
    byte_level("gpt-2", pre.ByteLevel(add_prefix_space=False, use_regex=True))
    byte_level("llama-bpe", pre.Sequence([isolated(LLAMA3), byte]), ignore_merges=True, begin=True)
    byte_level("qwen2", pre.Sequence([isolated(QWEN2), byte]), normalizer=normalizers.NFC())
    byte_level("deepseek-v3", pre.Sequence([isolated(r) for r in DEEPSEEK] + [byte]))
    byte_level("smollm", pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False, use_regex=True)]))
    sentence_bpe()
    unigram()
    word_piece()


main()
