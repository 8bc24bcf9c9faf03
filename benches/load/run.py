#!/usr/bin/env python3
"""Measures Staffetta beside Postfix on this machine, on loopback, in turn, and prints ratios.

    cargo build --release
    benches/load/run.py                          every cell, three runs each
    benches/load/run.py --cells c8:4096,maildir/k64:4096 --runs 7
    benches/load/run.py --staffetta OLD --staffetta NEW   two binaries in turn; --without-postfix leaves Postfix out
    benches/load/run.py --down                   accepting while the next hop refuses, empty and with a long queue
    benches/load/run.py --idle                   memory and start: idle, with 1,000 idle sessions
    benches/load/run.py --judged                 what judging strangers costs: with and without, in turn

A cell is c (a connection per message) or k (kept connections), the number of sessions, and the size of a message in
octets; with maildir/ in front the mail goes into a Maildir of this machine instead of to smtp-sink. Each run sends through
smtp-source and counts what arrived; durability is on in all servers. CPU is that of the server's processes alone: it
is the steadier figure where others use the machine. With --down nothing listens where the mail is to go, every
run begins with empty queues, and the ratio to Postfix is that of accepting into an almost empty queue. With --judged the
same binary runs with clients on loopback exempt, as strangers whose names are always the same (warm), and as strangers who all
have names of their own (cold; only the CPU is telling then, for the sender is slow). Mail is accepted and thrown away, and
names are those of an Unbound of its own; `asked` is what it was asked per message. Needs root, and
the Debian package postfix (smtp-source and smtp-sink come with it); starts its own instances on high ports in a folder
of its own, and stops them. These figures are noisy on shared machines: quote the ratios. Beware of ext4 without a journal:
for some minutes it looks at every file that was deleted before it makes a new one, so that earlier runs, and every
message that Postfix is done with, slow down all others; --folder chooses another file system.
"""
import argparse, concurrent.futures, itertools, json, os, pathlib, pwd, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
CELLS = "c1:4096,c8:4096,c64:4096,k8:4096,k64:4096,c64:65536,k64:65536,maildir/c8:4096,maildir/c64:4096"


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


class Mailbox:
    """Counts what is in `new` of the only mailbox."""

    def __init__(self, folder):
        self.new = folder / "mail/joe/new"

    def count(self):
        return len(os.listdir(self.new)) if self.new.is_dir() else 0


class Unbound:
    """A resolver whose only names are those that the judged mail asks for."""

    def __init__(self, folder, port, cold):
        self.conf, self.port = folder / "unbound.conf", port
        soa = "3600 IN SOA ns.test. root.test. 1 3600 900 86400 900"
        records = [
            f". {soa}", f"test. {soa}",
            "bench.test. 3600 IN MX 10 mail.bench.test.",
            'bench.test. 3600 IN TXT "v=spf1 ip4:127.0.0.1 -all"',
            "mail.bench.test. 3600 IN A 127.0.0.1",
            '_dmarc.bench.test. 3600 IN TXT "v=DMARC1; p=none"',
        ]
        for name in (f"n{number}.test." for number in range(cold)):
            records += [f"{name} 3600 IN A 127.0.0.1", f"{name} 3600 IN MX 10 {name}",
                        f'{name} 3600 IN TXT "v=spf1 ip4:127.0.0.1 -all"', f'_dmarc.{name} 3600 IN TXT "v=DMARC1; p=none"']
        data = "".join(f"  local-data: '{record}'\n" for record in records)
        self.conf.write_text(
            f'server:\n  interface: 127.0.0.1@{port}\n  do-daemonize: no\n  chroot: ""\n  username: ""\n  pidfile: ""\n'
            f'  directory: "{folder}"\n  use-syslog: no\n  logfile: "{folder}/unbound.log"\n  num-threads: 1\n  so-reuseport: no\n'
            f'  local-zone: "." static\n  local-zone: "test." static\n{data}'
            f'remote-control:\n  control-enable: yes\n  control-interface: "{folder}/control"\n  control-use-cert: no\n')
        self.process = subprocess.Popen(["unbound", "-d", "-c", self.conf], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        end = time.time() + 10
        while self.asked() is None:
            if time.time() > end or self.process.poll() is not None:
                sys.exit("unbound does not start: " + (folder / "unbound.log").read_text())
            time.sleep(0.01)

    def asked(self):
        """Questions so far."""
        told = subprocess.run(["unbound-control", "-c", self.conf, "stats_noreset"], capture_output=True, text=True)
        found = re.search(r"^total\.num\.queries=(\d+)", told.stdout, re.M)
        return int(found.group(1)) if found else None

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Staffetta:
    def __init__(self, name, binary, folder, port, sink, more="", discard=False):
        self.name, self.port, self.mailbox = name, port, Mailbox(folder)
        folder.mkdir()
        trusted = "" if discard else '"127.0.0.0/8"'
        deliver = "discard" if discard else f"maildir:{folder}/mail/{{local}}/"
        (folder / "c.toml").write_text(
            f'hostname = "bench.test"\ndata_dir = "{folder}/data"\ntrusted_networks = [{trusted}]\n'
            f'[[listener]]\nkind = "mx"\nbind = ["127.0.0.1:{port}"]\n[[domain]]\nname = "local.test"\nrecipients = "static:ok"\n'
            f'deliver = "{deliver}"\n[outbound]\nsmart_host = "smtp:[127.0.0.1]:{sink}"\n'
            f'[observe]\nhttp = ""\n' + more)
        self.log = open(folder / "log", "wb")
        started = time.time()
        self.process = subprocess.Popen([binary, "serve", "--config", str(folder / "c.toml")], stdout=self.log, stderr=self.log)
        wait_for(port)
        self.ready = time.time() - started

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


class Postfix:
    def __init__(self, name, _binary, folder, port, sink):
        self.name, self.port, self.mailbox = name, port, Mailbox(folder)
        for sub in ("conf", "queue", "data", "mail"):
            (folder / sub).mkdir(parents=True)
        shutil.chown(folder / "data", "postfix")
        owner = pwd.getpwnam("nobody")
        shutil.chown(folder / "mail", owner.pw_uid, owner.pw_gid)
        os.chmod(folder, 0o755)
        (folder / "conf/main.cf").write_text(
            f"compatibility_level = 3.6\nqueue_directory = {folder}/queue\ndata_directory = {folder}/data\nmyhostname = bench.test\n"
            f"mynetworks = 127.0.0.0/8\ninet_interfaces = 127.0.0.1\nmydestination =\nrelayhost = [127.0.0.1]:{sink}\nalias_maps =\n"
            f"maillog_file = {folder}/data/log\nmaillog_file_prefixes = {folder}\nsmtpd_client_connection_count_limit = 0\n"
            f"local_recipient_maps =\nsmtp_host_lookup = native\nvirtual_mailbox_domains = local.test\n"
            f"virtual_mailbox_base = {folder}/mail\nvirtual_mailbox_maps = static:joe/\nvirtual_mailbox_limit = 0\n"
            f"virtual_uid_maps = static:{owner.pw_uid}\nvirtual_gid_maps = static:{owner.pw_gid}\n")
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
    where, kept, sessions, size = cell
    to = "b@sink.test" if where == "relay" else "joe@local.test"
    command = ["smtp-source", "-s", str(sessions), "-m", str(count), "-l", str(size), "-f", "a@bench.test", "-t", to,
               "-M", "mail.bench.test"]
    subprocess.run(command + (["-d"] if kept else []) + [f"127.0.0.1:{port}"], check=True, stdout=subprocess.DEVNULL)


UNHEARD = itertools.count()


def send_cold(port, cell, count):
    """As `send`, where every client has a name and a domain that nobody has heard of."""
    _, _, sessions, size = cell
    text = "x" * 78 + "\r\n"

    def session(messages):
        for _ in range(messages):
            name = f"n{next(UNHEARD)}.test"
            with socket.create_connection(("127.0.0.1", port)) as s:
                replies = s.makefile("rb")
                head = f"From: a@{name}\r\nTo: joe@local.test\r\nSubject: cold\r\nMessage-ID: <1@{name}>\r\n\r\n"
                for said in ("", f"HELO {name}", f"MAIL FROM:<a@{name}>", "RCPT TO:<joe@local.test>", "DATA",
                             head + text * (size // len(text)) + "."):
                    s.sendall((said + "\r\n").encode() if said else b"")
                    reply = replies.readline()
                    if reply[:1] not in b"23":
                        sys.exit(f"{said[:60]}: {reply}")

    with concurrent.futures.ThreadPoolExecutor(sessions) as pool:
        list(pool.map(session, [count // sessions] * sessions))


def run(server, arrivals, cell, count, send=send):
    """One run; with `arrivals` None only accepting is measured."""
    before, used = arrivals.count() if arrivals else 0, cpu(server.process.pid)
    started = time.time()
    send(server.port, cell, count)
    accepted = count / (time.time() - started)
    while arrivals and arrivals.count() - before < count:
        time.sleep(0.005)
        if time.time() - started > 120:
            sys.exit(f"{server.name}: {arrivals.count() - before} of {count} arrived after two minutes")
    seconds = time.time() - started
    return dict(accepted=accepted, delivered=count / seconds, cpu_ms=(cpu(server.process.pid) - used) * 1000 / count)


def parse(cell):
    where, _, shape = cell.rpartition("/")
    sessions, size = shape[1:].split(":")
    return where or "relay", shape[0] == "k", int(sessions), int(size)


def makers(args):
    """Name, class and binary of all servers that are compared; the first one is what the others are compared with."""
    names = [pathlib.Path(path).name for path in args.staffetta]
    names = names if len(set(names)) == len(names) else args.staffetta
    names = ["staffetta"] if len(names) == 1 else names
    ours = [(name, Staffetta, path) for name, path in zip(names, args.staffetta)]
    return ours if args.without_postfix else [("postfix", Postfix, None)] + ours


def medians(results):
    return {n: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for n, rs in results.items()}


def speed(args, folder):
    servers, sinks = [], {}
    try:
        for i, (name, make, binary) in enumerate(makers(args)):
            port, sink = args.port + i, args.port + 10 + i
            (folder / f"s{i}").mkdir()
            sinks[name] = Sink(sink, folder / f"s{i}")
            servers.append(make(name, binary, folder / f"server{i}", port, sink))
        base = servers[0].name
        print(f"{'cell':>18} {'server':>12} {'accepted/s':>11} {'delivered/s':>12} {'CPU ms':>7} {'ratio':>6} {'CPU ratio':>9}")
        for label in args.cells.split(","):
            cell, results = parse(label), {}
            for _ in range(args.runs):
                for server in servers:
                    local = cell[0] == "maildir"
                    many = args.messages * (1 if server.name == "postfix" else 2 if local else 4)
                    arrivals = server.mailbox if local else sinks[server.name]
                    results.setdefault(server.name, []).append(run(server, arrivals, cell, many))
            median = medians(results)
            for name, m in median.items():
                first = median[base]
                print(f"{label:>18} {name:>12} {m['accepted']:11.0f} {m['delivered']:12.0f} {m['cpu_ms']:7.3f} "
                      f"{m['delivered'] / first['delivered']:5.1f}x {m['cpu_ms'] / first['cpu_ms']:8.2f}x", flush=True)
            if args.json:
                print(json.dumps(dict(cell=label, runs=results)))
    finally:
        for server in servers:
            server.stop()
        for sink in sinks.values():
            sink.stop()


def down(args, folder):
    """Accepting while the next hop refuses connections: into an almost empty queue, and behind `--depth` messages."""
    cell, results = parse(args.cells.split(",")[0] if args.cells != CELLS else "c8:4096"), {}
    for number in range(args.runs):
        for i, (name, make, binary) in enumerate(makers(args)):
            place = folder / f"{number}-{i}"
            server = make(name, binary, place, args.port + i, args.port + 10 + i)
            try:
                many = args.messages * (1 if name == "postfix" else 4)
                send(server.port, cell, 200)
                shallow = run(server, None, cell, many)
                if name != "postfix":
                    send(server.port, cell, max(args.depth - many - 200, 1))
                deep = run(server, None, cell, many)
            finally:
                server.stop()
            row = {f"{k}_{when}": r[k] for when, r in (("empty", shallow), ("deep", deep)) for k in ("accepted", "cpu_ms")}
            results.setdefault(name, []).append(row)
            shutil.rmtree(place)
            print(f"{number} {name:>12} " + " ".join(f"{k} {v:.3f}" for k, v in row.items()), flush=True)
    median = medians(results)
    first = next(iter(median.values()))
    print(f"{'server':>12} {'accepted/s':>11} {'CPU ms':>7} {'ratio':>6} {'deep/s':>8} {'CPU ms':>7} {'deep/empty':>10}")
    for name, m in median.items():
        print(f"{name:>12} {m['accepted_empty']:11.0f} {m['cpu_ms_empty']:7.3f} {m['accepted_empty'] / first['accepted_empty']:5.1f}x "
              f"{m['accepted_deep']:8.0f} {m['cpu_ms_deep']:7.3f} {m['accepted_deep'] / m['accepted_empty']:10.2f}")
    if args.json:
        print(json.dumps(results))


STRANGERS = """[antispam]
exempt_networks = []
[antispam.greylist]
mode = "off"
[antispam.rates]
connections_per_hour_max = 1000000000
messages_per_hour_max = 1000000000
recipients_per_hour_max = 1000000000
[dns]
servers = ["127.0.0.1:{port}"]
"""


def judged(args, folder):
    """Accepting from strangers beside accepting from clients that are exempt: throughput, CPU, questions to DNS."""
    cells = args.cells.split(",") if args.cells != CELLS else ["c8:4096"]
    cold = args.runs * args.messages * 4 * len(args.staffetta) * len(cells)
    unbound, servers = Unbound(folder, args.port + 20, cold), []
    strangers = STRANGERS.format(port=unbound.port)
    try:
        for i, binary in enumerate(args.staffetta):
            for j, (name, more) in enumerate((("exempt", ""), ("warm", strangers), ("cold", strangers))):
                name = f"{name} {i}" if len(args.staffetta) > 1 else name
                servers.append(Staffetta(name, binary, folder / f"{i}{name}", args.port + 3 * i + j, 9, more, discard=True))
        print(f"{'cell':>12} {'server':>12} {'accepted/s':>11} {'CPU ms':>7} {'asked':>7} {'ratio':>6} {'CPU more, ms':>12}")
        for label in cells:
            cell, results = ("local",) + parse(label)[1:], {}
            for server in servers:
                send(server.port, cell, 200)  # warm
            for _ in range(args.runs):
                for server in servers:
                    before, many = unbound.asked(), args.messages * 4
                    row = run(server, None, cell, many, send_cold if server.name.startswith("cold") else send)
                    results.setdefault(server.name, []).append(row | dict(asked=(unbound.asked() - before) / many))
            median = medians(results)
            for name, m in median.items():
                first = median[re.sub("warm|cold", "exempt", name)]
                print(f"{label:>12} {name:>12} {m['accepted']:11.0f} {m['cpu_ms']:7.3f} {m['asked']:7.3f} "
                      f"{m['accepted'] / first['accepted']:6.2f} {m['cpu_ms'] - first['cpu_ms']:12.3f}", flush=True)
            if args.json:
                print(json.dumps(dict(cell=label, runs=results)))
    finally:
        for server in servers:
            server.stop()
        unbound.stop()


def idle(args, folder):
    server = Staffetta("staffetta", args.staffetta[0], folder / "staffetta", args.port, args.port + 10)
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
    parser.add_argument("--staffetta", action="append", help="a binary; may be given several times")
    parser.add_argument("--without-postfix", action="store_true")
    parser.add_argument("--cells", default=CELLS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--messages", type=int, default=1000, help="for Postfix in one run; Staffetta gets two (Maildir) or four times as many")
    parser.add_argument("--depth", type=int, default=20000, help="with --down: messages of Staffetta's that wait in the end")
    parser.add_argument("--port", type=int, default=27500)
    parser.add_argument("--folder", help="where queues and mailboxes are, to measure another file system; else in target")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--idle", action="store_true")
    parser.add_argument("--down", action="store_true")
    parser.add_argument("--judged", action="store_true")
    args = parser.parse_args()
    args.staffetta = args.staffetta or [str(path) for path in found[:1]]
    if not args.staffetta:
        sys.exit("build it first: cargo build --release")
    place = pathlib.Path(args.folder).resolve() if args.folder else ROOT / "target"
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="staffetta-bench-", dir=place) as name:
        os.chmod(name, 0o755)
        (idle if args.idle else down if args.down else judged if args.judged else speed)(args, pathlib.Path(name))


main()
