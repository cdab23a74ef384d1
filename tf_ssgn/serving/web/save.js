// Downloads: made in the browser, from what it has.
export function save(name, content, type) {
  const blob = content instanceof Blob ? content : new Blob([content], { type });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Answers as CSV. A cell that a spreadsheet would take for a formula begins with an apostrophe. */
export function toCsv(hits) {
  const cell = (value) => {
    const text = String(value);
    const safe = typeof value === "string" && /^[=+\-@\t\r\n]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const rows = hits.map((hit, place) => [place + 1, hit.score, hit.label, hit.id]);
  return [["rank", "score", "label", "id"], ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

export function toJson(answer) {
  const { hits, model_version, gallery_version } = answer;
  const rows = hits.map(({ id, score, label }, place) => ({ rank: place + 1, id, score, label }));
  return `${JSON.stringify({ model_version, gallery_version, hits: rows }, null, 2)}\n`;
}
