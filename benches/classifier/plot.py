#!/usr/bin/env python3
"""Draws how much spam filters find at how many false positives, side by side, as an SVG. Needs nothing but Python.

    benches/classifier/plot.py --corpus DIR --staffetta target/x86_64-unknown-linux-gnu/release/staffetta --out roc.svg
    benches/classifier/plot.py --corpus DIR --filters classifier,whole,bogofilter,spamassassin

DIR holds letters, one a file, in folders whose path has `ham` or `spam` in it. In time order, by the topmost Received or
else Date, the older half of each class teaches and the newer half tests. What filters and mailboxes have added to headers
is taken out first, and what is there twice counts once. Filters: `classifier` and `whole` (all checks of contents) are
Staffetta's; `bogofilter` and `spamassassin` (without network; slow) are those of Debian, left out when they are not there.
Prints a line for each: false positives and recall at the filter's own threshold, and recall at 0, 0.1 and 1 % false positives.
"""
import argparse, bisect, email.utils, hashlib, math, os, pathlib, re, shutil, subprocess, sys, tempfile

ADDED = re.compile(rb"^(?:X-Spam|X-Barracuda|X-Bogosity|X-Virus-Scanned|X-Mozilla|X-UIDL)[^\n]*\n(?:[ \t][^\n]*\n)*", re.I | re.M)
RECEIVED = re.compile(rb"^Received:(?:[^\n]|\n[ \t])*;([^;\n]*(?:\n[ \t][^\n]*)?)$", re.M)
DATE = re.compile(rb"^Date:([^\n]*)", re.M)
COLOURS = ["#0b6e4f", "#c8553d", "#3d5a80", "#8a6d3b", "#6a4c93"]


def cleaned(raw):
    raw = raw.replace(b"\r\n", b"\n")
    if raw.startswith(b"From "):
        raw = raw.partition(b"\n")[2]
    head, _, body = raw.partition(b"\n\n")
    return ADDED.sub(b"", head + b"\n") + b"\n" + body


def came(letter):
    for found in RECEIVED.findall(letter)[:1] + DATE.findall(letter)[:1]:
        try:
            return email.utils.parsedate_to_datetime(found.decode("latin1").strip()).timestamp()
        except (ValueError, TypeError, OverflowError):
            pass
    return None


def parted(corpus, work):
    """The letters that teach and those that test, as files below `work`: for each class two lists of paths."""
    seen, dated = set(), {"ham": [], "spam": []}
    for path in sorted(path for path in corpus.rglob("*") if path.is_file()):
        where = str(path.relative_to(corpus)).lower()
        kind = "spam" if "spam" in where else "ham" if "ham" in where else None
        letter = cleaned(path.read_bytes()) if kind else b""
        digest = hashlib.sha256(letter).hexdigest()
        if not kind or digest in seen or (when := came(letter)) is None:
            continue
        seen.add(digest)
        dated[kind].append((when, digest, letter))
    halves = {}
    for kind, letters in dated.items():
        letters.sort(key=lambda letter: letter[:2])
        for half, some in (("teach", letters[: len(letters) // 2]), ("test", letters[len(letters) // 2:])):
            folder = work / half / kind
            folder.mkdir(parents=True)
            for number, (_, digest, letter) in enumerate(some):
                (folder / f"{number:06}-{digest[:12]}.eml").write_bytes(letter)
            halves[half, kind] = sorted(folder.iterdir())
    return halves


def staffetta(whole):
    def run(args, work, tests):
        adapter = pathlib.Path(__file__).with_name("adapter")
        env = os.environ | {"STAFFETTA": args.staffetta, "FILTER": str(work / "filter")} | ({"WHOLE": "1"} if whole else {})
        subprocess.run([adapter, "reset"], env=env, check=True)
        for kind in ("ham", "spam"):
            subprocess.run([adapter, "learn", f"--{kind}", work / "teach" / kind], env=env, check=True, stdout=subprocess.DEVNULL)
        names = "".join(f"{path}\n" for path in tests)
        told = subprocess.run([adapter, "score", "-"], env=env, input=names, text=True, stdout=subprocess.PIPE, check=True)
        rows = (line.split("\t") for line in told.stdout.splitlines())
        return {row[0]: (float(row[1]), row[2] == "spam") for row in rows if len(row) == 3}
    return run


def bogofilter(_args, work, tests):
    place = work / "bogofilter"
    place.mkdir()
    for kind, option in (("ham", "-n"), ("spam", "-s")):
        names = "".join(f"{path}\n" for path in sorted((work / "teach" / kind).iterdir()))
        subprocess.run(["bogofilter", "-d", place, option, "-b"], input=names, text=True, check=True)
    names = "".join(f"{path}\n" for path in tests)
    told = subprocess.run(["bogofilter", "-d", place, "-v", "-b"], input=names, text=True, stdout=subprocess.PIPE)
    rows = re.findall(r"^(\S+) X-Bogosity: (\w+),.* spamicity=([0-9.]+)", told.stdout, re.M)
    return {path: (float(score), kind == "Spam") for path, kind, score in rows}


def spamassassin(_args, work, tests):
    home = work / "spamassassin"
    home.mkdir()
    settings = ["-L", f"--prefspath={home}/none", "--siteconfigpath=/etc/spamassassin"]
    learn = ["sa-learn", *settings, f"--dbpath={home}/bayes"]
    for kind in ("ham", "spam"):
        subprocess.run([*learn, f"--{kind}", work / "teach" / kind], check=True, stdout=subprocess.DEVNULL)
    # It reads a mailbox in an order of its own: each letter has its number in a field.
    box = b"".join(b"From x Thu Jan  1 00:00:00 1970\nX-Bench-Number: %d\n" % number
                   + re.sub(rb"^(>*From )", rb">\1", pathlib.Path(path).read_bytes(), flags=re.M) + b"\n\n"
                   for number, path in enumerate(tests))
    (home / "box").write_bytes(box)
    told = subprocess.run(["spamassassin", *settings, "--cf", f"bayes_path {home}/bayes", "--cf", "bayes_auto_learn 0", "--mbox", home / "box"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    found = re.findall(rb"^X-Spam-Status: (Yes|No), score=(-?[0-9.]+).*?^X-Bench-Number: (\d+)$", told, re.M | re.S)
    if len({number for _, _, number in found}) != len(tests):
        sys.exit(f"spamassassin judged {len(found)} of {len(tests)}")
    return {tests[int(number)]: (float(score), yes == b"Yes") for yes, score, number in found}


FILTERS = {"classifier": ("Staffetta, classifier", staffetta(False)), "whole": ("Staffetta, all contents", staffetta(True)),
           "bogofilter": ("bogofilter", bogofilter), "spamassassin": ("SpamAssassin", spamassassin)}


def curve(results, spam):
    """Recall at every number of false positives, both as shares; the highest score first."""
    ham = sorted((score for path, (score, _) in results.items() if path not in spam), reverse=True)
    found = sorted(score for path, (score, _) in results.items() if path in spam)
    above = lambda score: 1 - bisect.bisect_right(found, score) / len(found)
    return [(number / len(ham), above(score)) for number, score in enumerate(ham)]


def svg(curves, least):
    width, height, left, top = 760, 460, 70, 30
    right, bottom = width - 210, height - 55
    low, high = math.log10(least), -1
    x = lambda share: left + (max(math.log10(max(share, least)), low) - low) / (high - low) * (right - left)
    y = lambda share: bottom - share * (bottom - top)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="13">',
           f'<rect width="{width}" height="{height}" fill="white"/>']
    for percent in range(0, 101, 20):
        out.append(f'<path d="M{left} {y(percent / 100):.1f}H{right}" stroke="#ddd"/><text x="{left - 8}" y="{y(percent / 100) + 4:.1f}" text-anchor="end">{percent} %</text>')
    for share in (0.0001, 0.001, 0.01, 0.1):
        if share >= least:
            out.append(f'<path d="M{x(share):.1f} {top}V{bottom}" stroke="#ddd"/><text x="{x(share):.1f}" y="{bottom + 18}" text-anchor="middle">{share * 100:g} %</text>')
    out.append(f'<text x="{(left + right) / 2}" y="{height - 14}" text-anchor="middle">good letters that are called spam (leftmost: none)</text>')
    out.append(f'<text transform="translate(18 {(top + bottom) / 2}) rotate(-90)" text-anchor="middle">spam that is found</text>')
    for number, (name, points) in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        shown = [(share, recall) for share, recall in points if share <= 0.1]
        path = f"M{x(0):.1f} {y(shown[0][1]):.1f}" + "".join(f"H{x(share):.1f}V{y(recall):.1f}" for share, recall in shown[1:])
        out.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.append(f'<path d="M{right + 15} {top + 12 + 24 * number}h24" stroke="{colour}" stroke-width="3"/><text x="{right + 46}" y="{top + 16 + 24 * number}">{name}</text>')
    return "\n".join(out + ["</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", required=True, type=pathlib.Path)
    parser.add_argument("--staffetta", default="staffetta")
    parser.add_argument("--filters", default="classifier,whole,bogofilter")
    parser.add_argument("--out", default="roc.svg")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="staffetta-roc-") as name:
        work = pathlib.Path(name)
        halves = parted(args.corpus, work)
        spam = {str(path) for path in halves["test", "spam"]}
        tests = [str(path) for path in halves["test", "ham"]] + sorted(spam)
        ham = len(tests) - len(spam)
        curves = []
        print(f"{ham} good letters and {len(spam)} spam test")
        for title, run in (FILTERS[name] for name in args.filters.split(",")):
            if run in (bogofilter, spamassassin) and not shutil.which(run.__name__):
                print(f"{title}: is not there", file=sys.stderr)
                continue
            results = run(args, work, tests)
            if len(results) != len(tests):
                sys.exit(f"{title}: judged {len(results)} of {len(tests)}")
            points = curve(results, spam)
            called = [path for path, (_, is_spam) in results.items() if is_spam]
            wrong = sum(path not in spam for path in called)
            at = {share: points[int(share * ham)][1] * 100 for share in (0, 0.001, 0.01)}
            print(f"{title:24} {wrong} false positives, finds {(len(called) - wrong) / len(spam) * 100:.1f} %; "
                  + ", ".join(f"{recall:.1f} % at {share * 100:g} %" for share, recall in at.items()), flush=True)
            curves.append((title, points))
        pathlib.Path(args.out).write_text(svg(curves, 10 ** math.floor(math.log10(1 / ham)) if ham else 0.001))


if __name__ == "__main__":
    main()
