// Server-sent events, from text that comes in pieces of any size.
//
// The format is that of the HTML standard, section "Interpreting an event stream".

/** Most characters of one event; a server that sends more is not one of ours. */
export const EVENT_CHARS_MAX = 16 << 20;

/** Collects pieces of a stream and gives out whole events. */
export class EventReader {
  #line = "";
  #data = [];
  #name = "";
  #size = 0;
  #afterReturn = false;
  #begun = false;

  /**
   * Takes the next piece and returns the events that it completes, as `{ name, data }`.
   * Throws a RangeError for an event beyond the limit.
   */
  push(piece) {
    const events = [];
    let text = piece;
    if (!this.#begun && text.length > 0) {
      this.#begun = true;
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    }
    // A CR at the end of a piece has ended its line, so an LF that follows belongs to it.
    if (this.#afterReturn && text.length > 0) {
      this.#afterReturn = false;
      if (text[0] === "\n") text = text.slice(1);
    }
    let from = 0;
    while (from < text.length) {
      const end = lineEnd(text, from);
      this.#grow(end - from);
      if (end === text.length) {
        this.#line += text.slice(from);
        break;
      }
      this.#endLine(this.#line + text.slice(from, end), events);
      this.#line = "";
      from = end + 1;
      if (text[end] === "\r") {
        if (from === text.length) this.#afterReturn = true;
        else if (text[from] === "\n") from += 1;
      }
    }
    return events;
  }

  #grow(chars) {
    this.#size += chars;
    if (this.#size > EVENT_CHARS_MAX) {
      throw new RangeError(`an event is longer than ${EVENT_CHARS_MAX} characters`);
    }
  }

  #endLine(line, events) {
    if (line === "") {
      if (this.#data.length > 0) {
        events.push({ name: this.#name || "message", data: this.#data.join("\n") });
      }
      this.#data = [];
      this.#name = "";
      this.#size = 0;
      return;
    }
    const colon = line.indexOf(":");
    // A comment; servers send them to show that they live.
    if (colon === 0) {
      this.#size -= line.length;
      return;
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value[0] === " ") value = value.slice(1);
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#name = value;
  }
}

/** Where the line that goes on at `from` ends: at a CR, an LF, or the end of the text. */
function lineEnd(text, from) {
  const feed = text.indexOf("\n", from);
  const end = feed < 0 ? text.length : feed;
  const back = text.slice(from, end).indexOf("\r");
  return back < 0 ? end : from + back;
}
