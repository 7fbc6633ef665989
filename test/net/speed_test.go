package net_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"jail/test/need"
)

// Servers of the internet for the benchmark: bytes without end, and a drain.
const (
	zeroPort  = "9104"
	drainPort = "9105"
)

func init() {
	probes["speed-out"] = timed(func(a ...string) error { return speed(drainPort, a[0], a[1], (*net.TCPConn).Write) })
	probes["speed-in"] = timed(func(a ...string) error { return speed(zeroPort, a[0], a[1], (*net.TCPConn).Read) })
	probes["latency"] = timed(latency)
	probes["dns-latency"] = timed(dnsLatency)
}

// timed has a probe wait before and after what it measures, while the benchmark looks at what its way out has used
// until then. A connection comes first: jail's gateway comes up with it.
func timed(probe func(...string) error) func(...string) error {
	return func(a ...string) error {
		c, err := dialLoad(echoPort)
		if err != nil {
			return err
		}
		c.Close()
		fmt.Println("begin")
		if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
			return err
		}
		if err := probe(a...); err != nil {
			return err
		}
		_, _ = os.Stdin.Read(make([]byte, 1))
		return nil
	}
}

func serveSpeed(c *net.TCPConn, port string) {
	if port == drainPort {
		buf := make([]byte, 1<<20)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	}
	zeros := make([]byte, 1<<20)
	for {
		if _, err := c.Write(zeros); err != nil {
			return
		}
	}
}

// speed moves bytes over some connections for a while, and prints "metric BITS-A-SECOND GIGABYTES".
func speed(port, seconds, connections string, move func(*net.TCPConn, []byte) (int, error)) error {
	d := time.Duration(number(seconds)) * time.Second
	n := int(number(connections))
	got := make(chan int64, n)
	begin := time.Now()
	for range n {
		c, err := dialLoad(port)
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			var total int64
			buf := make([]byte, 128<<10)
			for time.Since(begin) < d {
				k, err := move(c, buf)
				if total += int64(k); err != nil {
					break
				}
			}
			got <- total
		}()
	}
	var total int64
	for range n {
		total += <-got
	}
	fmt.Printf("metric %g %g\n", float64(total)*8/time.Since(begin).Seconds(), float64(total)/1e9)
	return nil
}

// latency is that of a connection and one byte there and back. It prints "metric MICROSECONDS CONNECTIONS".
func latency(...string) error {
	var all []float64
	for range 200 {
		begin := time.Now()
		c, err := dialLoad(echoPort)
		if err != nil {
			return err
		}
		_, err = c.Write([]byte("x"))
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
		}
		c.Close()
		if err != nil {
			return err
		}
		all = append(all, float64(time.Since(begin).Microseconds()))
	}
	slices.Sort(all)
	fmt.Printf("metric %g %d\n", all[len(all)/2], len(all))
	return nil
}

// dnsLatency asks the sandbox's resolver.
func dnsLatency(a ...string) error {
	server := os.Getenv("GATEWAY4")
	if len(a) > 0 {
		server = a[0]
	}
	var all []float64
	for range 100 {
		q := new(dns.Msg)
		q.SetQuestion("good.test.", dns.TypeA)
		begin := time.Now()
		m, err := dns.Exchange(q, net.JoinHostPort(server, "53"))
		if err != nil || len(m.Answer) == 0 {
			return fmt.Errorf("no answer of %s: %w", server, err)
		}
		all = append(all, float64(time.Since(begin).Microseconds()))
	}
	slices.Sort(all)
	fmt.Printf("metric %g %d\n", all[len(all)/2], len(all))
	return nil
}

// A contender runs the probe in a network of its own way.
type contender struct {
	name string
	// argv is put before the probe's own words; "sh -c" scripts get them as "$@".
	argv []string
	dns  string // its resolver, inside
	way  string // the process that carries, as its first word is
}

// noTUN starts a command where there is no TUN device.
const noTUN = `mount -t tmpfs none /dev/net && exec setpriv --ambient-caps=-all --inh-caps=-all -- "$@"`

// slirp makes the topology of slirp4netns: a namespace with a TAP device, fed by it.
const slirp = `exec 6<&0; unshare --user --map-root-user --net sh -c 'echo $$ >&3; read go <&4; exec "$@"' sh "$@" <&6 3>pid.$$ 4<fifo.$$ &
	child=$!
	until [ -s pid.$$ ]; do sleep 0.01; done
	slirp4netns --configure --mtu=65520 -r 5 $child tap0 5>ready.$$ >/dev/null 2>&1 &
	slirp=$!
	until [ -s ready.$$ ]; do sleep 0.01; done
	echo go >fifo.$$
	wait $child; kill $slirp; rm -f pid.$$ ready.$$ fifo.$$`

func contenders(b *testing.B, self string) []contender {
	profile := b.TempDir() + "/p.yaml"
	if err := os.WriteFile(profile, []byte("version: 1\nname: p\nextends: [base]\n"+egress("")), 0o600); err != nil {
		b.Fatal(err)
	}
	jail := []string{need.Jail(b), "-p", profile, "--ro", self + ":" + self, "--env", "JAIL_ROLE=probe", "--"}
	const gateway = "jail-net-gateway"
	all := []contender{{"no sandbox", nil, "203.0.113.53", ""}}
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		b.Fatalf("%v (test/bench/network lends the run a TUN device)", err)
	}
	f.Close()
	all = append(all,
		contender{"jail, TAP", jail, "", gateway},
		contender{"slirp4netns", []string{"sh", "-c", "cd $TMPDIR; mkfifo fifo.$$; (exec 4<>fifo.$$; " + slirp + ")", "sh"}, "10.0.2.3", "slirp4netns"},
		contender{"pasta", []string{"pasta", "--config-net", "-q", "--"}, "203.0.113.53", "pasta"})
	for _, other := range filepath.SplitList(os.Getenv("JAIL_BENCH_OTHER")) {
		all = append(all, contender{filepath.Base(other), append([]string{other}, jail[1:]...), "", gateway})
	}
	return append(all, contender{"jail, packet socket", append([]string{"unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c", noTUN, "sh"}, jail...), "", gateway})
}

// used is what a way out has used: seconds of processor and switches between threads.
type used struct{ cpu, switches float64 }

// usage adds up the threads of the processes below one whose first word is the way's (schedstat of
// proc(5) counts in nanoseconds).
func usage(root int, way string) (u used) {
	for _, pid := range descendants(root) {
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		first, _, _ := strings.Cut(string(line), "\x00")
		if way == "" || !strings.HasPrefix(filepath.Base(first), way) {
			continue
		}
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
		for _, t := range tasks {
			if b, err := os.ReadFile(t + "/schedstat"); err == nil {
				ns, _ := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
				u.cpu += ns / 1e9
			}
			status, _ := os.ReadFile(t + "/status")
			for l := range strings.Lines(string(status)) {
				if name, n, _ := strings.Cut(l, ":"); strings.HasSuffix(name, "ctxt_switches") {
					k, _ := strconv.ParseFloat(strings.TrimSpace(n), 64)
					u.switches += k
				}
			}
		}
	}
	return u
}

func descendants(pid int) []int {
	all := []int{pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, l := range lists {
		b, _ := os.ReadFile(l)
		for _, f := range strings.Fields(string(b)) {
			all = append(all, descendants(int(number(f)))...)
		}
	}
	return all
}

// result is a probe's metric, and what its way out has used for each gigabyte, connection or question.
type result struct {
	metric float64
	used
}

// measure runs one probe.
func (c contender) measure(self, probe string) (r result, err error) {
	argv := append(slices.Clone(c.argv), self, strings.ReplaceAll(probe, "DNS", c.dns))
	cmd := ordinary(argv...)
	if strings.HasPrefix(c.name, "jail, packet") {
		cmd = exec.Command(argv[0], argv[1:]...)
	}
	cmd.Env = append(os.Environ(), "JAIL_ROLE=probe", "TMPDIR="+os.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return r, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	lines := bufio.NewScanner(out)
	var begin, end used
	amount := 0.0
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "begin":
			begin = usage(cmd.Process.Pid, c.way)
			_, _ = in.Write([]byte("."))
		case "metric":
			end = usage(cmd.Process.Pid, c.way)
			_, err = fmt.Sscan(rest, &r.metric, &amount)
			in.Close()
		}
	}
	in.Close()
	if end := cmd.Wait(); err == nil {
		err = end
	}
	if err == nil && amount == 0 {
		err = errors.New("no metric")
	}
	if err != nil {
		return r, fmt.Errorf("%s: %s: %w\n%s", c.name, probe, err, stderr.Bytes())
	}
	r.cpu, r.switches = (end.cpu-begin.cpu)/amount, (end.switches-begin.switches)/amount
	return r, nil
}

// BenchmarkNetwork compares jail's gateway with its like, in turns, in the same topology. It prints medians and their
// ratio to slirp4netns, which are what to look at: absolute figures are those of the machine and the hour. Beside them stands
// what the way out has used, which a busy machine changes least.
func BenchmarkNetwork(b *testing.B) {
	world(b)
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	probes := []struct {
		name, probe, unit, each string
		scale                   float64
	}{
		{"out", "speed-out 2 1", "Gbit/s", "gigabyte", 1e-9}, {"out, 4 connections", "speed-out 2 4", "Gbit/s", "gigabyte", 1e-9},
		{"in", "speed-in 2 1", "Gbit/s", "gigabyte", 1e-9}, {"in, 4 connections", "speed-in 2 4", "Gbit/s", "gigabyte", 1e-9},
		{"connect and a byte", "latency", "us", "connection", 1}, {"DNS answer", "dns-latency DNS", "us", "answer", 1},
	}
	all := contenders(b, self)
	if only := os.Getenv("JAIL_BENCH_WAYS"); only != "" {
		all = slices.DeleteFunc(all, func(c contender) bool { return !slices.Contains(strings.Split(only, "|"), c.name) })
	}
	rounds := 5
	if n := number(os.Getenv("JAIL_BENCH_ROUNDS")); n > 0 {
		rounds = int(n)
	}
	for _, p := range probes {
		if only := os.Getenv("JAIL_BENCH_ONLY"); only != "" && !slices.Contains(strings.Split(only, ","), p.name) {
			continue
		}
		got := map[string][]result{}
		for range rounds {
			for _, c := range all {
				r, err := c.measure(self, p.probe)
				if err != nil {
					b.Errorf("%v", err)
					continue
				}
				r.metric *= p.scale
				got[c.name] = append(got[c.name], r)
			}
		}
		base := median(got["slirp4netns"])
		for _, c := range all {
			m := median(got[c.name])
			ratio := ""
			if base.metric > 0 && c.name != "slirp4netns" {
				ratio = fmt.Sprintf("%6.2f of slirp4netns", m.metric/base.metric)
			}
			fmt.Printf("%-18s %-18s %8.2f %-6s %-20s %8.0f us of processor and %5.0f switches a %s\n",
				p.name, c.name, m.metric, p.unit, ratio, m.cpu*1e6, m.switches, p.each)
		}
	}
}

// median takes the middle of each figure.
func median(all []result) (m result) {
	if len(all) == 0 {
		return m
	}
	middle := func(of func(result) float64) float64 {
		var v []float64
		for _, r := range all {
			v = append(v, of(r))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	m.metric = middle(func(r result) float64 { return r.metric })
	m.cpu = middle(func(r result) float64 { return r.cpu })
	m.switches = middle(func(r result) float64 { return r.switches })
	return m
}
