package net_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jail/test/need"
)

// Servers of the internet for loads, at 203.0.113.20.
const (
	sourcePort = "9100" // "SIZE\n": sends that many bytes and closes its half
	sinkPort   = "9101" // takes bytes until the end, then answers with their sha256
	resetPort  = "9102" // resets once it has read a byte
	echoPort   = "9103" // gives back what it gets
)

const loadHost = "203.0.113.20"

func init() {
	probes["download"] = func(a ...string) error { return download(number(a[0]), 0) }
	probes["kept"] = kept
	probes["upload"] = func(a ...string) error { return upload(number(a[0])) }
	probes["slow"] = func(a ...string) error { return download(number(a[0]), 3*time.Second) }
	probes["reset"] = func(...string) error { return wasReset() }
	probes["parallel"] = func(a ...string) error { return parallel(int(number(a[0]))) }
	probes["stay"] = func(...string) error { _, err := os.Stdin.Read(make([]byte, 1)); return ignoreEOF(err) }
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func number(s string) int64 { n, _ := strconv.ParseInt(s, 10, 64); return n }

// blocks is a stream of size bytes that has no two equal blocks.
type blocks struct {
	size, at int64
	block    [1 << 16]byte
}

func (b *blocks) Read(p []byte) (int, error) {
	if b.at >= b.size {
		return 0, io.EOF
	}
	off := int(b.at % int64(len(b.block)))
	if off == 0 {
		binary.LittleEndian.PutUint64(b.block[:], uint64(b.at))
	}
	n := copy(p, b.block[off:min(int64(len(b.block)), int64(off)+b.size-b.at)])
	b.at += int64(n)
	return n, nil
}

func sumOf(size int64) string {
	h := sha256.New()
	_, _ = io.Copy(h, &blocks{size: size})
	return fmt.Sprintf("%x", h.Sum(nil))
}

func serveLoads() error {
	for port, serve := range map[string]func(*net.TCPConn){
		sourcePort: func(c *net.TCPConn) {
			line, _ := bufio.NewReader(c).ReadString('\n')
			_, _ = io.Copy(c, &blocks{size: number(strings.TrimSpace(line))})
		},
		sinkPort: func(c *net.TCPConn) {
			h := sha256.New()
			if _, err := io.Copy(h, c); err == nil {
				fmt.Fprintf(c, "%x", h.Sum(nil))
			}
		},
		resetPort: func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 1)); _ = c.SetLinger(0) },
		echoPort:  func(c *net.TCPConn) { _, _ = io.Copy(c, c) },
		zeroPort:  func(c *net.TCPConn) { serveSpeed(c, zeroPort) },
		drainPort: func(c *net.TCPConn) { serveSpeed(c, drainPort) },
	} {
		l, err := net.Listen("tcp4", net.JoinHostPort("", port))
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { defer c.Close(); serve(c.(*net.TCPConn)) }()
			}
		}()
	}
	return nil
}

func dialLoad(port string) (*net.TCPConn, error) {
	c, err := net.DialTimeout("tcp", net.JoinHostPort(loadHost, port), 30*time.Second)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), c.SetDeadline(time.Now().Add(5 * time.Minute))
}

// download takes a stream in, after a pause in which it does not read.
func download(size int64, pause time.Duration) error {
	c, err := dialLoad(sourcePort)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintln(c, size)
	time.Sleep(pause)
	h := sha256.New()
	n, err := io.Copy(h, c)
	if err == nil && (n != size || fmt.Sprintf("%x", h.Sum(nil)) != sumOf(size)) {
		err = fmt.Errorf("%d bytes of %d, or not the same ones", n, size)
	}
	return err
}

// upload sends a stream, closes its half, and reads what the other side makes of it.
func upload(size int64) error {
	c, err := dialLoad(sinkPort)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.Copy(c, &blocks{size: size}); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(c)
	if err == nil && string(got) != sumOf(size) {
		err = fmt.Errorf("the other side got something else: %q", got)
	}
	return err
}

func wasReset() error {
	c, err := dialLoad(resetPort)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	if _, err = c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("not reset: %w", err)
	}
	return nil
}

// parallel opens many connections, uses them all while all stand, and closes them.
func parallel(n int) error {
	conns := make([]*net.TCPConn, n)
	errs := make([]error, n)
	each := func(f func(i int) error) error {
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() { errs[i] = f(i) })
		}
		all.Wait()
		return errors.Join(errs...)
	}
	if err := each(func(i int) (err error) { conns[i], err = dialLoad(echoPort); return err }); err != nil {
		return err
	}
	return each(func(i int) error {
		defer conns[i].Close()
		want := fmt.Appendf(nil, "connection %d", i)
		if _, err := conns[i].Write(want); err != nil {
			return err
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(conns[i], got); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%q came back as %q", want, got)
		}
		return nil
	})
}

// full tells whether the loads are to be as large as they are promised to work: `make test-net`. They are a tenth
// of it elsewhere.
func full() bool { return os.Getenv("JAIL_TEST_FULL") != "" }

func scaled(n int64) int64 {
	if full() {
		return n
	}
	return n / 10
}

// maxGateway bounds the gateway's memory under a slow reader, in KiB: its rest, one connection's buffers in both
// stacks, and what the collector leaves for later.
const maxGateway = 48 << 10

// Gigabytes both ways, half-closed connections, resets, many connections at once, a reader that does not read.
func TestJailLoad(t *testing.T) {
	world(t)
	profile := writeProfile(t, egress(""))
	size := fmt.Sprint(scaled(1 << 30))
	attempts := []string{"download " + size, "upload " + size, "reset", fmt.Sprintf("parallel %d", scaled(1000))}
	got, said := jailProbe(t, profile, attempts...)
	for i, o := range got {
		t.Logf("%s: %d ms", attempts[i], o.millis)
		if !o.reached {
			t.Errorf("%s: %s", attempts[i], o.detail)
		}
	}
	if said != "" {
		t.Errorf("jail said: %s", said)
	}
}

func TestJailMemory(t *testing.T) {
	world(t)
	s := startProbe(t, writeProfile(t, egress("")), "tcp 203.0.113.20:80", "slow "+fmt.Sprint(256<<20), "stay")
	s.line(t)
	rest := memory(t, s.gateway(t))
	time.Sleep(2 * time.Second) // the source fills what it can
	slow := memory(t, s.gateway(t))
	if line := s.line(t); !strings.HasPrefix(line, "reached") {
		t.Error(line)
	}
	after := memory(t, s.gateway(t))
	t.Logf("gateway: %d KiB at rest, %d KiB with a reader that does not read, %d KiB after it has read 256 MiB", rest, slow, after)
	if rest > 25<<10 {
		t.Errorf("the gateway at rest has %d KiB, more than 25 MiB", rest)
	}
	if slow > maxGateway || after > maxGateway {
		t.Errorf("a slow reader makes the gateway grow to %d and %d KiB", slow, after)
	}
	s.end(t)
}

// A sandboxed is a sandbox whose program makes attempts.
type sandboxed struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Scanner
	err   bytes.Buffer
}

func startProbe(t *testing.T, profile string, attempts ...string) *sandboxed {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &sandboxed{cmd: ordinary(append([]string{need.Jail(t), "-p", profile, "--ro", self + ":/probe", "--env", "JAIL_ROLE=probe", "--", "/probe"}, attempts...)...)}
	s.cmd.Stderr = &s.err
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.lines = bufio.NewScanner(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sandboxed) line(t *testing.T) string {
	t.Helper()
	if !s.lines.Scan() {
		t.Fatalf("the sandbox ended: %v\n%s", s.cmd.Wait(), s.err.Bytes())
	}
	return s.lines.Text()
}

func (s *sandboxed) end(t *testing.T) {
	t.Helper()
	s.stdin.Close()
	for s.lines.Scan() {
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, s.err.Bytes())
	}
}

// gateway finds the gateway process among jail's children.
func (s *sandboxed) gateway(t *testing.T) int {
	t.Helper()
	pid := s.cmd.Process.Pid
	for child := range strings.FieldsSeq(allChildren(t, pid)) {
		if exe, _ := os.Readlink("/proc/" + child + "/exe"); strings.Contains(exe, "gateway") {
			return int(number(child))
		}
	}
	t.Fatalf("jail (%d) has no gateway among its children", pid)
	return 0
}

// allChildren lists the children of every thread of a process.
func allChildren(t *testing.T, pid int) string {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	all := ""
	for _, file := range tasks {
		text, _ := os.ReadFile(file)
		all += string(text)
	}
	return all
}

// memory is what a process alone has in memory, in KiB.
func memory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return int(number(strings.Fields(rest)[0]))
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// Many sandboxes with networks at once work, and of sandboxes that are killed at any moment, starting or running,
// nothing stays.
func TestJailManyAndKilled(t *testing.T) {
	world(t)
	// What loses its parent becomes a child of this process (prctl(2)), so that it can be counted.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	for _, v := range []string{"HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TMPDIR"} {
		t.Setenv(v, home)
	}
	profile := filepath.Join(home, "p.yaml")
	if err := os.WriteFile(profile, []byte("version: 1\nname: p\nextends: [base]\n"+egress("")), 0o600); err != nil {
		t.Fatal(err)
	}
	first := startProbe(t, profile, "tcp good.test:80") // fills the cache of filters
	first.line(t)
	first.end(t)
	before := state(t, home)

	begin := time.Now()
	many := make([]*sandboxed, scaled(100))
	for i := range many {
		many[i] = startProbe(t, profile, "tcp good.test:80", "stay")
	}
	for _, s := range many {
		if line := s.line(t); !strings.HasPrefix(line, "reached") {
			t.Errorf("one of %d: %s\n%s", len(many), line, s.err.Bytes())
		}
	}
	t.Logf("%d sandboxes have reached the internet after %v", len(many), time.Since(begin))
	for _, s := range many {
		s.stdin.Close()
	}
	for _, s := range many {
		s.end(t)
	}
	nothingLeft(t, home, before, "after many sandboxes at once")

	for i := range scaled(200) {
		s := startProbe(t, profile, "tcp good.test:80", "stay")
		// A start takes some 15 ms here, more on a busy machine: kills fall before, into and behind it.
		time.Sleep(time.Duration(i%40) * 2 * time.Millisecond)
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.stdin.Close()
	}
	nothingLeft(t, home, before, "after kills")
}

// state is what could be left behind: files, links of the host, by text.
func state(t *testing.T, home string) string {
	t.Helper()
	var b strings.Builder
	_ = filepath.WalkDir(home, func(path string, _ os.DirEntry, _ error) error { b.WriteString(path + "\n"); return nil })
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		b.WriteString(l.Name + "\n")
	}
	return b.String()
}

// nothingLeft waits for every orphan to end.
func nothingLeft(t *testing.T, home, before, when string) {
	t.Helper()
	until := time.Now().Add(60 * time.Second)
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if errors.Is(err, unix.ECHILD) {
			break
		}
		if err == nil && pid == 0 {
			children := allChildren(t, os.Getpid())
			if onlyWorld(children) {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("%s processes are left: %s", when, describe(children))
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	if now := state(t, home); now != before {
		t.Errorf("%s there is\n%s\nand before there was\n%s", when, now, before)
	}
}

func describe(children string) string {
	text := ""
	for child := range strings.FieldsSeq(children) {
		comm, _ := os.ReadFile("/proc/" + child + "/comm")
		exe, _ := os.Readlink("/proc/" + child + "/exe")
		text += fmt.Sprintf("\n%s %s %s", child, strings.TrimSpace(string(comm)), exe)
	}
	return text
}

// onlyWorld tells whether there is nothing among these processes but the one that holds the world's namespace.
func onlyWorld(children string) bool {
	for child := range strings.FieldsSeq(children) {
		if comm, err := os.ReadFile("/proc/" + child + "/comm"); err == nil && string(comm) != "sleep\n" {
			return false
		}
	}
	return true
}

// Limits of speed hold in both directions. Control: the same without them.
func TestJailBandwidth(t *testing.T) {
	world(t)
	const size = 5 << 20
	attempts := []string{fmt.Sprint("download ", size), fmt.Sprint("upload ", size/2)}
	millis := func(more string) (down, up int64) {
		t.Helper()
		got, said := jailProbe(t, writeProfile(t, egress(more)), attempts...)
		if len(got) != 2 || !got[0].reached || !got[1].reached || said != "" {
			t.Fatalf("%+v, said %s", got, said)
		}
		return int64(got[0].millis), int64(got[1].millis)
	}
	down, up := millis("\n  bandwidth: {down: 20Mbit/s, up: 10Mbit/s}\n")
	freeDown, freeUp := millis("")
	t.Logf("limited: %d and %d ms; not limited: %d and %d ms", down, up, freeDown, freeUp)
	// 2.1 seconds each, of which 20 ms may pass at once, or two of the largest frames.
	if down < 1800 || up < 1800 {
		t.Errorf("took %d and %d ms, too fast for the limits", down, up)
	}
	if freeDown > down/2 || freeUp > up/2 {
		t.Errorf("control: without limits it took %d and %d ms, so these prove nothing", freeDown, freeUp)
	}
}

// A delay counts for every packet, both ways.
func TestJailDelay(t *testing.T) {
	world(t)
	attempt := "tcp 203.0.113.20:80"
	profile := writeProfile(t, egress("\n  bandwidth: {delay: 100ms}\n"))
	out, err := ordinary(need.Jail(t), "-p", profile, "--", "true").CombinedOutput()
	if strings.Contains(string(out), "the kernel lacks sch_netem") {
		t.Skipf("needs sch_netem: %s", out)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got, said := jailProbe(t, profile, attempt)
	free, _ := jailProbe(t, writeProfile(t, egress("")), attempt)
	if len(got) != 1 || !got[0].reached || said != "" || len(free) != 1 || !free[0].reached {
		t.Fatalf("%+v, %+v, said %s", got, free, said)
	}
	if got[0].millis < 195 {
		t.Errorf("a connection takes %d ms with twice 100 ms on its way", got[0].millis)
	}
	if free[0].millis >= 195 {
		t.Errorf("control: it takes %d ms without", free[0].millis)
	}
}

// kept keeps a connection to a name for some seconds. It fails unless that goes on, and another one to the same address, which
// the name is not asked for again, is refused.
func kept(a ...string) error {
	c, err := net.Dial("tcp4", "good.test:"+echoPort)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, wait := range []time.Duration{0, time.Duration(number(a[0])) * time.Second} {
		time.Sleep(wait)
		if _, err := c.Write([]byte("x")); err != nil {
			return fmt.Errorf("after %s: %w", wait, err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return fmt.Errorf("after %s: %w", wait, err)
		}
	}
	another, err := net.Dial("tcp4", c.RemoteAddr().String())
	if err == nil {
		another.Close()
		return errors.New("another one is let through")
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return err
	}
	another, err = net.Dial("tcp4", "good.test:"+echoPort)
	if err == nil {
		another.Close()
	}
	return err
}

// A connection outlives the time for which its name was told, and no new one does: docs/network.md.
func TestJailKeepsConnections(t *testing.T) {
	world(t)
	profile := writeProfile(t, "network:\n  mode: veth\n  egress:\n    - allow: \"good.test:"+echoPort+"\"\n")
	// The zone's TTL is a second, and an address is open for a minute at least.
	got, _ := jailProbe(t, profile, "kept 1", "kept 63")
	if got[0].reached || !strings.Contains(got[0].detail, "let through") {
		t.Errorf("control: within the time: %+v", got[0])
	}
	if !got[1].reached {
		t.Errorf("after it: %s", got[1].detail)
	}
}
