#!/usr/bin/env python3
"""Measures Staffetta beside Postfix on this machine, on loopback, in turn, and prints ratios.

    cargo build --release
    benches/load/run.py                          every cell, three runs each
    benches/load/run.py --cells c8:4096,k64:4096 --runs 7
    benches/load/run.py --staffetta PATH         another binary
    benches/load/run.py --idle                   memory and start: idle, with 1,000 idle sessions

A cell is c (a connection per message) or k (kept connections), the number of sessions, and the size of a message in
octets. Each run sends through smtp-source, relays to smtp-sink, and counts what the sink took; durability is on in both
servers. CPU is that of the server's processes alone. Needs root, and the Debian package postfix (smtp-source and
smtp-sink come with it); starts its own instances on high ports in a folder of its own, and stops them. These figures are noisy on
shared machines: quote the ratios.
"""
import argparse, json, os, pathlib, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


def wait_for(port, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as s:
                s.settimeout(5)
                if s.recv(200).startswith(b"220"):
                    return
        except OSError:
            pass
        time.sleep(0.002)
    sys.exit(f"nothing greets on port {port}")


def family(pid):
    """A process and all below it."""
    below, found = {}, [pid]
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = open(f"/proc/{entry}/stat").read().rsplit(")", 1)[1].split()
                below.setdefault(int(fields[1]), []).append(int(entry))
            except OSError:
                pass
    for p in found:
        found.extend(below.get(p, []))
    return found


def cpu(pid):
    total = 0
    for p in family(pid):
        try:
            f = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
            total += sum(map(int, f[11:15]))  # own time, and that of children that ended
        except OSError:
            pass
    return total / TICKS


def rss(pid):
    kib = 0
    for p in family(pid):
        try:
            kib += int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{p}/status").read()).group(1))
        except (OSError, AttributeError):
            pass
    return kib / 1024


class Sink:
    def __init__(self, port, folder):
        self.path = folder / "sink"
        self.out = open(self.path, "wb")
        self.process = subprocess.Popen(["smtp-sink", "-u", "postfix", "-c", f"127.0.0.1:{port}", "1024"], stdout=self.out,
                                        stderr=subprocess.DEVNULL, start_new_session=True)
        wait_for(port)

    def count(self):
        found = re.findall(rb"mesg=(\d+)", self.path.read_bytes()[-200:])
        return int(found[-1]) if found else 0

    def stop(self):
        self.process.kill()
        self.process.wait()


class Staffetta:
    name = "staffetta"

    def __init__(self, binary, folder, port, sink):
        folder.mkdir()
        (folder / "c.toml").write_text(
            f'hostname = "bench.test"\ndata_dir = "{folder}/data"\ntrusted_networks = ["127.0.0.0/8"]\n'
            f'[[listener]]\nkind = "mx"\nbind = ["127.0.0.1:{port}"]\n[[domain]]\nname = "local.test"\nrecipients = "static:ok"\n'
            f'deliver = "maildir:{folder}/mail/{{local}}/"\n[outbound]\nsmart_host = "smtp:[127.0.0.1]:{sink}"\n'
            f'[observe]\nhttp = ""\n')
        self.log = open(folder / "log", "wb")
        started = time.time()
        self.process = subprocess.Popen([binary, "serve", "--config", str(folder / "c.toml")], stdout=self.log, stderr=self.log)
        wait_for(port)
        self.ready = time.time() - started

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


class Postfix:
    name = "postfix"

    def __init__(self, _binary, folder, port, sink):
        for sub in ("conf", "queue", "data"):
            (folder / sub).mkdir(parents=True)
        shutil.chown(folder / "data", "postfix")
        os.chmod(folder, 0o755)
        (folder / "conf/main.cf").write_text(
            f"compatibility_level = 3.6\nqueue_directory = {folder}/queue\ndata_directory = {folder}/data\nmyhostname = bench.test\n"
            f"mynetworks = 127.0.0.0/8\ninet_interfaces = 127.0.0.1\nmydestination =\nrelayhost = [127.0.0.1]:{sink}\nalias_maps =\n"
            f"maillog_file = {folder}/data/log\nmaillog_file_prefixes = {folder}\nsmtpd_client_connection_count_limit = 0\n"
            f"local_recipient_maps =\nsmtp_host_lookup = native\n")
        text = pathlib.Path("/etc/postfix/master.cf").read_text() if os.path.exists("/etc/postfix/master.cf") else ""
        text = text or pathlib.Path("/usr/share/postfix/master.cf.dist").read_text()
        lines = [re.sub(r"^(\S+\s+\S+\s+\S+\s+\S+\s+)y", r"\1n", line) for line in text.splitlines()]
        lines = [line for line in lines if not re.match(r"^(smtp|submission|smtps)\s+inet", line)]
        (folder / "conf/master.cf").write_text("\n".join([f"127.0.0.1:{port} inet n - n - - smtpd"] + lines) + "\n")
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.conf = folder / "conf"
        subprocess.run(["postfix", "-c", self.conf, "check"], **quiet)
        started = time.time()
        subprocess.run(["postfix", "-c", self.conf, "start"], check=True, **quiet)
        wait_for(port)
        self.ready = time.time() - started
        pid = int((folder / "queue/pid/master.pid").read_text())
        self.process = type("P", (), {"pid": pid})

    def stop(self):
        subprocess.run(["postfix", "-c", self.conf, "stop"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def send(port, cell, count):
    kept, sessions, size = cell
    command = ["smtp-source", "-s", str(sessions), "-m", str(count), "-l", str(size), "-f", "a@bench.test", "-t", "b@sink.test"]
    subprocess.run(command + (["-d"] if kept else []) + [f"127.0.0.1:{port}"], check=True, stdout=subprocess.DEVNULL)


def run(server, port, sink, cell, count):
    before, used = sink.count(), cpu(server.process.pid)
    started = time.time()
    send(port, cell, count)
    accepted = count / (time.time() - started)
    while sink.count() - before < count:
        time.sleep(0.005)
        if time.time() - started > 120:
            sys.exit(f"{server.name}: {sink.count() - before} of {count} arrived after two minutes")
    seconds = time.time() - started
    return dict(accepted=accepted, delivered=count / seconds, cpu_ms=(cpu(server.process.pid) - used) * 1000 / count)


def parse(cell):
    kind, rest = cell[0], cell[1:]
    sessions, size = rest.split(":")
    return kind == "k", int(sessions), int(size)


def speed(args, folder):
    servers, sinks = [], {}
    try:
        for i, make in enumerate([Postfix, Staffetta]):
            port, sink = args.port + i, args.port + 10 + i
            (folder / f"s{i}").mkdir()
            sinks[make.name] = Sink(sink, folder / f"s{i}")
            servers.append((make(args.staffetta, folder / make.name, port, sink), port))
        print(f"{'cell':>10} {'server':>10} {'accepted/s':>11} {'delivered/s':>12} {'CPU ms':>7} {'ratio':>6} {'CPU ratio':>9}")
        for cell in map(parse, args.cells.split(",")):
            results = {}
            for _ in range(args.runs):
                for server, port in servers:
                    many = args.messages if server.name == "postfix" else args.messages * 4
                    results.setdefault(server.name, []).append(run(server, port, sinks[server.name], cell, many))
            median = {n: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for n, rs in results.items()}
            for name, m in median.items():
                base = median["postfix"]
                label = f"{'k' if cell[0] else 'c'}{cell[1]}:{cell[2]}"
                print(f"{label:>10} {name:>10} {m['accepted']:11.0f} {m['delivered']:12.0f} {m['cpu_ms']:7.3f} "
                      f"{m['delivered'] / base['delivered']:5.1f}x {m['cpu_ms'] / base['cpu_ms']:8.2f}x", flush=True)
            if args.json:
                print(json.dumps(dict(cell=label, **median)))
    finally:
        for server, _ in servers:
            server.stop()
        for sink in sinks.values():
            sink.stop()


def idle(args, folder):
    server = Staffetta(args.staffetta, folder / "staffetta", args.port, args.port + 10)
    try:
        time.sleep(2)
        print(f"ready to greet after {server.ready * 1000:.0f} ms; idle RSS {rss(server.process.pid):.1f} MB")
        sessions = [socket.create_connection(("127.0.0.1", args.port)) for _ in range(1000)]
        greeted = sum(s.recv(200).startswith(b"220") for s in sessions)
        time.sleep(1)
        print(f"1,000 idle sessions: {greeted} greeted, RSS {rss(server.process.pid):.1f} MB")
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found = sorted(ROOT.glob("target/*/release/staffetta")) + sorted(ROOT.glob("target/release/staffetta"))
    parser.add_argument("--staffetta", default=str(found[0]) if found else None)
    parser.add_argument("--cells", default="c1:4096,c8:4096,c64:4096,k8:4096,k64:4096,c64:65536,k64:65536")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--messages", type=int, default=1000, help="for Postfix in one run; Staffetta gets four times as many")
    parser.add_argument("--port", type=int, default=27500)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--idle", action="store_true")
    args = parser.parse_args()
    if not args.staffetta:
        sys.exit("build it first: cargo build --release")
    with tempfile.TemporaryDirectory(prefix="staffetta-bench-", dir=str(ROOT / "target")) as name:
        os.chmod(name, 0o755)
        (idle if args.idle else speed)(args, pathlib.Path(name))


main()
