#!/usr/bin/env python3
"""What a filter says of mail of other years and places than it was taught. Needs nothing but Python.

    benches/classifier/across.py --teach DIR --show lists-2010=DIR --show phishing=DIR \\
        --staffetta target/x86_64-unknown-linux-gnu/release/staffetta

Every DIR holds letters, one a file. Of --teach those are learnt whose path has `ham` or `spam` in it; of each --show all
are scored, by the classifier alone and by all checks of contents, and where paths tell ham from spam, each kind apart. What
filters and mailboxes have added to headers is taken out first, and what is there twice counts once. Prints a line for each kind:
how many letters, and how many in a hundred are called ham, unsure and spam; and for each --show with both kinds how often a
spam is above a ham (AUC). What it was never taught it shall call unsure rather than spam.
"""
import argparse, collections, hashlib, os, pathlib, subprocess, tempfile

import plot


def kind_of(path, below):
    where = str(path.relative_to(below)).lower()
    return "spam" if "spam" in where else "ham" if "ham" in where else "all"


def gathered(folder, work):
    """The letters of a folder as files below `work`, by kind."""
    seen, kinds = set(), collections.defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        letter = plot.cleaned(path.read_bytes())
        digest = hashlib.sha256(letter).hexdigest()
        if digest in seen:
            continue
        seen.add(digest)
        kind = kind_of(path, folder)
        place = work / kind / f"{digest[:24]}.eml"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(letter)
        kinds[kind].append(str(place))
    return kinds


def scored(program, filter, files, more):
    done = subprocess.run([program, "score", "--filter", filter, *more, "-"], input="\n".join(files) + "\n", text=True,
                          stdout=subprocess.PIPE, check=True)
    rows = (line.rsplit("\t", 2) for line in done.stdout.splitlines())
    return [(float(score), verdict) for _, score, verdict in rows]


def above(hams, spams):
    """How often a spam is above a ham; of equals one half."""
    rows = sorted([(score, 0) for score, _ in hams] + [(score, 1) for score, _ in spams])
    below, pairs, at = 0, 0.0, 0
    while at < len(rows):
        end = at
        while end < len(rows) and rows[end][0] == rows[at][0]:
            end += 1
        spam = sum(kind for _, kind in rows[at:end])
        ham = end - at - spam
        pairs += spam * (below + ham / 2)
        below += ham
        at = end
    return pairs / (len(hams) * len(spams))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teach", type=pathlib.Path, required=True, help="letters to learn")
    parser.add_argument("--show", action="append", required=True, metavar="NAME=DIR", help="letters to judge")
    parser.add_argument("--staffetta", default=os.environ.get("STAFFETTA", "staffetta"), help="the program")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        taught = gathered(told.teach, work / "taught")
        for kind in ("ham", "spam"):
            subprocess.run([told.staffetta, "learn", "--filter", str(work / "filter"), f"--{kind}", str(work / "taught" / kind)],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print(f"taught: {len(taught['ham'])} ham, {len(taught['spam'])} spam")
        for name, _, folder in (show.partition("=") for show in told.show):
            kinds = gathered(pathlib.Path(folder), work / "shown" / name)
            for by, more in (("classifier", ["--classifier-only"]), ("all contents", [])):
                said = {kind: scored(told.staffetta, str(work / "filter"), files, more) for kind, files in kinds.items()}
                for kind, rows in sorted(said.items()):
                    counts = collections.Counter(verdict for _, verdict in rows)
                    shares = ", ".join(f"{verdict} {100 * counts[verdict] / len(rows):.1f} %" for verdict in ("ham", "unsure", "spam"))
                    print(f"{name:16} {kind:5} {by:13} {len(rows):6}: {shares}")
                if "ham" in said and "spam" in said:
                    print(f"{name:16}       {by:13} AUC {above(said['ham'], said['spam']):.5f}")


if __name__ == "__main__":
    main()
