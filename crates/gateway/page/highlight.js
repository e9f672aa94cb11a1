// Colours for code, by signs that most languages share: comments, strings, numbers, keywords.

/** Longer code stays plain. */
const CHARS_MAX = 100_000;

const WORDS = "abstract and as assert async await begin break case catch class const continue def "
  + "default defer del delete do done elif else elsif end enum esac except export extends extern fi "
  + "finally fn for foreach from func function global go if impl implements import in include "
  + "instanceof interface is lambda let local loop match mod module move mut namespace new nil not "
  + "null None of or package pass private protected pub public raise ref require return select self "
  + "Self static struct super switch then this throw trait try type typeof typedef union unless "
  + "unsafe until use using var virtual void where while with yield true false True False undefined "
  + "int float double bool boolean char string str long short unsigned signed usize isize u8 u16 u32 "
  + "u64 i8 i16 i32 i64 f32 f64 echo SELECT FROM WHERE INSERT INTO UPDATE DELETE CREATE TABLE JOIN ON "
  + "GROUP BY ORDER LIMIT AND OR NOT NULL VALUES SET AS";
const KEYWORDS = new Set(WORDS.split(" "));

const SLASHES = "js javascript ts typescript jsx tsx c h cpp c++ cc cs csharp java kotlin kt go rust rs "
  + "swift scala php dart css scss less json5 jsonc zig";
const HASHES = "py python sh bash zsh shell console fish rb ruby perl pl r yaml yml toml ini "
  + "dockerfile makefile make elixir ex julia jl nim powershell ps1 conf";
const DASHES = "sql lua haskell hs ada elm";

const by = (names, pattern) => names.split(" ").map((name) => [name, pattern]);
const COMMENTS = new Map([
  ...by(SLASHES, String.raw`\/\/[^\n]*|\/\*[^]*?(?:\*\/|$)`),
  ...by(HASHES, String.raw`#[^\n]*`),
  ...by(DASHES, String.raw`--[^\n]*`),
  ...by("html xml svg vue", String.raw`<!--[^]*?(?:-->|$)`),
]);
const PLAIN = new Set(["", "text", "txt", "plain", "plaintext", "markdown", "md", "diff", "output"]);
const STRINGS = String.raw`"""[^]*?(?:"""|$)|"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'|` + "`(?:[^`\\\\]|\\\\[^])*`";
const NUMBER = String.raw`\b(?:0x[\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?)\b`;
const NAME = String.raw`[\p{L}_$][\p{L}\p{N}_$]*`;

/** Nodes for code in a language. */
export function highlight(text, lang) {
  const name = lang.toLowerCase();
  if (PLAIN.has(name) || text.length > CHARS_MAX) return [text];
  const comment = COMMENTS.get(name) ?? "(?!)";
  const pattern = new RegExp(`(${comment})|(${STRINGS})|(${NUMBER})|(${NAME})`, "gu");
  const nodes = [];
  let [from, plain] = [0, ""];
  const colour = (kind, token) => {
    if (plain) nodes.push(plain);
    plain = "";
    const span = document.createElement("span");
    span.className = `code-${kind}`;
    span.textContent = token;
    nodes.push(span);
  };
  for (const found of text.matchAll(pattern)) {
    const [token, isComment, isString, isNumber] = found;
    plain += text.slice(from, found.index);
    from = found.index + token.length;
    if (isComment) colour("comment", token);
    else if (isString) colour("string", token);
    else if (isNumber) colour("number", token);
    else if (KEYWORDS.has(token)) colour("keyword", token);
    else if (text[from] === "(") colour("call", token);
    else plain += token;
  }
  plain += text.slice(from);
  return plain ? [...nodes, plain] : nodes;
}
