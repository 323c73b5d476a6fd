"""Counts words in every file of $CARGO_INPUT; writes report.json and words.csv to $CARGO_OUTPUT."""

import csv
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def main() -> int:
    inputs = sorted(path for path in Path(os.environ["CARGO_INPUT"]).rglob("*") if path.is_file())
    if not inputs:
        print("word-count: no input; give at least one text file with --input (or --file)", file=sys.stderr)
        return 3
    params = json.loads(Path(os.environ["CARGO_PARAMS"]).read_text() or "{}")
    least = int(params.get("min_length", 1))
    top = int(params.get("top", 10))

    words: Counter[str] = Counter()
    files = []
    for path in inputs:
        lines = characters = count = 0
        with path.open(encoding="utf-8", errors="replace") as text:
            for line in text:
                lines += 1
                characters += len(line)
                found = [word for word in WORD.findall(line.lower()) if len(word) >= least]
                count += len(found)
                words.update(found)
        files.append({"file": path.name, "lines": lines, "characters": characters, "words": count})
        print(f"{path.name}: {lines} lines, {count} words", flush=True)

    ranked = sorted(words.items(), key=lambda item: (-item[1], item[0]))
    output = Path(os.environ["CARGO_OUTPUT"])
    report = {
        "files": files,
        "words": sum(words.values()),
        "distinct": len(words),
        "top": [{"word": word, "count": count} for word, count in ranked[:top]],
    }
    (output / "report.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    with (output / "words.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["word", "count"])
        writer.writerows(ranked)
    print(f"{report['words']} words, {report['distinct']} distinct; most frequent: "
          + ", ".join(f"{word} ({count})" for word, count in ranked[:3]))
    return 0


sys.exit(main())
