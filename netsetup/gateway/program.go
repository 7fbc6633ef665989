package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"jail/netsetup"
)

// Descriptors that a program which is the way out starts with.
const (
	programNetNS = "/proc/self/fd/3" // the gateway's namespace
	programReady = "/proc/self/fd/4" // written to when it is ready
)

// programPatience is how long it may take to begin.
const programPatience = 20 * time.Second

// startProgram starts pasta or slirp4netns on the gateway's namespace. The program makes
// the link there, opens its connections from the host's namespace, in which it is
// started, and confines itself. It dies with this process.
func (g *gateway) startProgram(s *netsetup.Setup) (*netsetup.Uplink, error) {
	fail := func(err error) (*netsetup.Uplink, error) {
		return nil, fmt.Errorf("%snetwork uplink %s: %w", s.Config.Origin("uplink"), s.Config.Uplink, err)
	}
	up, args := programArgs(s)
	read, ready, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer read.Close()
	// The door and the name of this gateway are not for it: it would look like one.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fail(err)
	}
	said := &tail{}
	cmd := &exec.Cmd{
		Path: s.Program, Args: append([]string{s.Program}, args...), Dir: "/", Env: []string{},
		Stdout: said, Stderr: said, ExtraFiles: []*os.File{g.space.File, ready},
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL},
	}
	started := make(chan error)
	go func() {
		// It dies with the thread that started it, which therefore waits for it.
		runtime.LockOSThread()
		err := cmd.Start()
		ready.Close()
		if started <- err; err != nil {
			return
		}
		_ = cmd.Wait()
		g.programEnded(said.text())
	}()
	if err := <-started; err != nil {
		return fail(err)
	}
	_ = read.SetReadDeadline(time.Now().Add(programPatience))
	if n, err := read.Read(make([]byte, 16)); n == 0 {
		if errors.Is(err, io.EOF) {
			time.Sleep(10 * time.Millisecond) // its last words are on their way
			err = errors.New("it ended")
		}
		return fail(fmt.Errorf("%w\nit said: %s", err, said.text()))
	}
	if err := g.space.SetMTU(up.Link, up.MTU); err != nil {
		return fail(err)
	}
	return up, nil
}

// programArgs are the arguments of the program, and what is to be done with its link. Its
// own doors to the host are shut: ports of either side's loopback, the address that stands for the
// host, and its resolver.
func programArgs(s *netsetup.Setup) (*netsetup.Uplink, []string) {
	p := s.Plan
	up := &netsetup.Uplink{Way: s.Config.Uplink, Link: netsetup.UplinkName, MTU: netsetup.MaxMTU}
	four, six := netsetup.DefaultRoutes()
	if s.Config.Uplink == "slirp4netns" {
		args := []string{"--configure", fmt.Sprintf("--mtu=%d", up.MTU), "--cidr=" + p.Up4.String(), "--disable-host-loopback", "--disable-dns",
			"--enable-sandbox", "--enable-seccomp", "--ready-fd=4", "--netns-type=path"}
		if six {
			// IPv4 it configures itself. fd00::2 is libslirp's end.
			args = append(args, "--enable-ipv6")
			up.Addresses = []netip.Prefix{netip.PrefixFrom(netsetup.Nth(p.Up6, 100), 64)}
			up.Next = []netip.Addr{netsetup.Nth(p.Up6, 2)}
		}
		return up, append(args, programNetNS, up.Link)
	}
	args := []string{"--foreground", "--quiet", "--pid", programReady, "--netns", programNetNS, "--netns-only", "--ns-ifname", up.Link,
		"--no-map-gw", "--tcp-ports", "none", "--udp-ports", "none", "--tcp-ns", "none", "--udp-ns", "none",
		"--no-dhcp", "--no-dhcpv6", "--no-ra", "--dns", "none", "--search", "none"}
	for _, f := range []struct {
		there  bool
		prefix netip.Prefix
	}{{four, p.Up4}, {six, p.Up6}} {
		if !f.there {
			continue // it goes where the host has a default route
		}
		own, next := netsetup.Nth(f.prefix, 2), netsetup.Nth(f.prefix, 1)
		args = append(args, "--address", own.String(), "--gateway", next.String())
		up.Addresses, up.Next = append(up.Addresses, netip.PrefixFrom(own, f.prefix.Bits())), append(up.Next, next)
	}
	return up, args
}

// programEnded tells every member that nothing leaves any more, and ends the gateway.
func (g *gateway) programEnded(said string) {
	g.mu.Lock()
	list := append([]*member(nil), g.list...)
	g.mu.Unlock()
	for _, m := range list {
		m.report(netsetup.Event{Kind: "notice", Why: m.config.Uplink + " has ended, and with it the network: " + said}, nil)
	}
	for _, m := range list {
		m.tellPending()
	}
	os.Exit(1)
}

// tail keeps the last that a program said.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

// maxTail is how much of it.
const maxTail = 2048

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	t.kept = t.kept[max(0, len(t.kept)-maxTail):]
	return len(b), nil
}

// text is what it said, on one line.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for line := range bytes.Lines(t.kept) {
		// Without a system log pasta says so after each line.
		if l := strings.TrimSpace(string(line)); l != "" && !strings.HasPrefix(l, "Failed to send ") {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		return "nothing"
	}
	return strings.Join(lines, "; ")
}
