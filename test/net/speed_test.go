package net_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
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
	probes["speed-out"] = func(a ...string) error { return speed(drainPort, a[0], a[1], (*net.TCPConn).Write) }
	probes["speed-in"] = func(a ...string) error { return speed(zeroPort, a[0], a[1], (*net.TCPConn).Read) }
	probes["latency"] = latency
	probes["dns-latency"] = dnsLatency
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

// speed moves bytes over some connections for a while, and prints "metric BITS a second".
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
	fmt.Printf("metric %g\n", float64(total)*8/time.Since(begin).Seconds())
	return nil
}

// latency is that of a connection and one byte there and back.
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
	fmt.Printf("metric %g\n", all[len(all)/2])
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
	fmt.Printf("metric %g\n", all[len(all)/2])
	return nil
}

// A contender runs the probe in a network of its own way.
type contender struct {
	name string
	// argv is put before the probe's own words; "sh -c" scripts get them as "$@".
	argv []string
	dns  string // its resolver, inside
}

// noTUN starts a command where there is no TUN device.
const noTUN = `mount -t tmpfs none /dev/net && exec setpriv --ambient-caps=-all --inh-caps=-all -- "$@"`

// slirp makes the topology of slirp4netns: a namespace with a TAP device, fed by it.
const slirp = `unshare --user --map-root-user --net sh -c 'echo $$ >&3; read go <&4; exec "$@"' sh "$@" 3>pid.$$ 4<fifo.$$ &
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
	all := []contender{{"no sandbox", nil, "203.0.113.53"}}
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err == nil {
		f.Close()
		all = append(all,
			contender{"jail, TAP", jail, ""},
			contender{"slirp4netns", []string{"sh", "-c", "cd $TMPDIR; mkfifo fifo.$$; (exec 4<>fifo.$$; " + slirp + ")", "sh"}, "10.0.2.3"},
			contender{"pasta", []string{"pasta", "--config-net", "-q", "--"}, "203.0.113.53"})
	}
	if other := os.Getenv("JAIL_BENCH_OTHER"); other != "" {
		all = append(all, contender{"another jail", append([]string{other}, jail[1:]...), ""})
	}
	return append(all, contender{"jail, packet socket", append([]string{"unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "sh", "-c", noTUN, "sh"}, jail...), ""})
}

// measure runs one probe and gives its metric.
func (c contender) measure(self, probe string) (float64, error) {
	argv := append(slices.Clone(c.argv), self, strings.ReplaceAll(probe, "DNS", c.dns))
	cmd := ordinary(argv...)
	if strings.HasPrefix(c.name, "jail, packet") {
		cmd = exec.Command(argv[0], argv[1:]...)
	}
	cmd.Env = append(os.Environ(), "JAIL_ROLE=probe", "TMPDIR="+os.TempDir())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		for line := range strings.Lines(string(out)) {
			if text, ok := strings.CutPrefix(line, "metric "); ok {
				return strconv.ParseFloat(strings.TrimSpace(text), 64)
			}
		}
		err = errors.New("no metric")
	}
	return 0, fmt.Errorf("%s: %s: %w\n%s%s", c.name, probe, err, out, stderr.Bytes())
}

// BenchmarkNetwork compares jail's gateway with its like, in turns, in the same topology. It prints medians and their
// ratio to slirp4netns, which are what to look at: absolute figures are those of the machine and the hour.
func BenchmarkNetwork(b *testing.B) {
	world(b)
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	probes := []struct {
		name, probe, unit string
		scale             float64
	}{
		{"out", "speed-out 2 1", "Gbit/s", 1e-9}, {"out, 4 connections", "speed-out 2 4", "Gbit/s", 1e-9},
		{"in", "speed-in 2 1", "Gbit/s", 1e-9}, {"in, 4 connections", "speed-in 2 4", "Gbit/s", 1e-9},
		{"connect and a byte", "latency", "us", 1}, {"DNS answer", "dns-latency DNS", "us", 1},
	}
	all := contenders(b, self)
	rounds := 5
	if n := number(os.Getenv("JAIL_BENCH_ROUNDS")); n > 0 {
		rounds = int(n)
	}
	for _, p := range probes {
		if only := os.Getenv("JAIL_BENCH_ONLY"); only != "" && !slices.Contains(strings.Split(only, ","), p.name) {
			continue
		}
		got := map[string][]float64{}
		for range rounds {
			for _, c := range all {
				v, err := c.measure(self, p.probe)
				if err != nil {
					b.Errorf("%v", err)
					continue
				}
				got[c.name] = append(got[c.name], v*p.scale)
			}
		}
		base := median(got["slirp4netns"])
		for _, c := range all {
			ratio := ""
			if base > 0 && c.name != "slirp4netns" {
				ratio = fmt.Sprintf("%6.2f of slirp4netns", median(got[c.name])/base)
			}
			fmt.Printf("%-20s %-20s %10.2f %-6s %s\n", p.name, c.name, median(got[c.name]), p.unit, ratio)
		}
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[len(v)/2]
}
