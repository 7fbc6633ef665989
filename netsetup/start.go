package netsetup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options are what Start needs besides the configuration.
type Options struct {
	// Gateway opens the gateway program, to be executed with these arguments. The
	// file is closed when the program runs.
	Gateway func() (program *os.File, args []string, err error)
	// Hold begins the process that becomes the gateway when the first packet comes. Without it, and for networks of other
	// kinds, the gateway makes the links and is waited for.
	Hold func(*Hold) (Held, error)
	// Sandbox is the name of this sandbox, if it has one.
	Sandbox string
	// Hostname is the name of the sandbox in its own /etc/hosts.
	Hostname string
	// Events is called for each refusal, one at a time. It may be nil.
	Events func(Event)
	// Stderr takes what the gateway process has to say outside of events. The
	// gateway of a named network, which may outlive this process, has none.
	Stderr *os.File
	// Lock is a folder of jail's own, made when it is absent, whose lock orders
	// the starts in named networks.
	Lock string
}

// Network is a sandbox's network while it lives.
type Network struct {
	// Plan says what the network looks like; it is there when Start returns.
	Plan *Plan

	control *net.UnixConn
	pid     int  // the gateway
	entered bool // another supervisor has started it
	// listeners are the published ports, until they are handed over.
	listeners []*os.File
	held      Held
	begun     time.Time
	knock     *os.File // the other end of its door, until the links are made
	mu        sync.Mutex
	uplink    *os.File // of a network whose gateway is not there yet
	child     int      // the process to wait for: it, or as root the host process; 0 where others may need it longer
	spaces    chan struct{}
	ready     chan struct{}
	at        *Attached
	err       error

	close   sync.Once
	spawned chan struct{} // closed when there is a gateway, or an error
	done    chan struct{}
}

// Attached is what the launcher needs: it enters UserNS, then NetNS, and makes
// the program's own user namespace below UserNS, so that the program has no
// capability over its network.
type Attached struct {
	UserNS, NetNS *os.File
	// Plan has the addresses, and ResolvConf and Hosts for /etc.
	Plan *Plan
	// Way is how packets leave, as in [Ready].
	Way string
}

// Start begins to make a sandbox's network and returns at once; Spaces and Ready
// wait for it. The gateway process ends with the Network, or with this process, however
// it dies.
func Start(c *Config, o Options) (*Network, error) {
	if c.Mode != "veth" {
		return nil, fmt.Errorf("network mode %s needs no gateway", c.Mode)
	}
	if c.OnHost() && os.Geteuid() != 0 {
		return nil, fmt.Errorf("%snetwork %s: only root can have it\nan ordinary user's network needs no link of the host: leave the key out", c.Origin(c.Way()), c.Way())
	}
	program, err := c.uplinkProgram()
	if err != nil {
		return nil, err
	}
	plan, err := Foresee(c, o.Hostname)
	if err != nil {
		return nil, err
	}
	n := &Network{begun: time.Now(), Plan: plan, spaces: make(chan struct{}), ready: make(chan struct{}), spawned: make(chan struct{}), done: make(chan struct{})}
	setup := &Setup{Config: *c, Plan: plan, Sandbox: o.Sandbox, Group: os.Getgid(), Program: program}
	if plan.CallerIsRoot {
		setup.Group = 0
	}
	if c.DNS == nil || len(c.DNS.Servers) == 0 {
		if setup.Resolvers, err = hostResolvers(resolvConf); err != nil {
			return nil, err
		}
	}
	go func() {
		// A process of this size takes its time to fork; the caller has other things to do.
		if err := n.begin(c, o, setup); err != nil {
			n.err, n.control = err, nil
			close(n.spaces)
			close(n.ready)
			close(n.done)
			close(n.spawned)
			return
		}
		close(n.spawned)
		n.receive(o.Events)
	}()
	if c.Name == "" {
		return n, nil
	}
	if <-n.spawned; n.control == nil {
		return nil, n.err
	}
	if n.entered {
		// The network was there before, and decides on addresses.
		at, err := n.Ready()
		if err != nil {
			n.Close()
			return nil, err
		}
		n.Plan = at.Plan
	}
	return n, nil
}

// begin makes the gateway process, or finds the one that is there.
func (n *Network) begin(c *Config, o Options, setup *Setup) error {
	hold := o.Hold != nil && c.holdable()
	if os.Geteuid() == 0 || hold {
		var err error
		if n.listeners, err = setup.listenFirst(); err != nil {
			return err
		}
		defer closeAll(n.listeners)
	}
	switch {
	case hold:
		return n.hold(o, setup)
	case c.Name == "":
		return n.spawn(o, setup)
	}
	return n.enterOrSpawn(c, o, setup)
}

// memfd puts the message into memory.
func (s *Setup) memfd() (*os.File, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return memfd("setup", b)
}

// controlPair makes the control socket, with the first request in it, and gives the
// gateway's end.
func (n *Network) controlPair(setup *os.File) (theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	mine, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	defer mine.Close()
	c, err := net.FileConn(mine)
	if err != nil {
		theirs.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	n.control = c.(*net.UnixConn)
	if err := Send(n.control, Request{Op: "attach"}, append([]*os.File{setup}, n.listeners...)...); err != nil {
		n.control.Close()
		theirs.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return theirs, nil
}

// handOver makes what a gateway is given: its end of the control socket, with the setup in the first request, and both ends of its door.
func (n *Network) handOver(setup *Setup) (files []*os.File, err error) {
	mem, err := setup.memfd()
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	control, err := n.controlPair(mem)
	if err != nil {
		return nil, err
	}
	door, err := doorFiles(setup.Config.Name)
	if err != nil {
		n.control.Close()
		control.Close()
		return nil, err
	}
	return append([]*os.File{control}, door...), nil
}

// spawn starts the gateway process in a user namespace of its own.
func (n *Network) spawn(o Options, setup *Setup) error {
	files, err := n.handOver(setup)
	if err != nil {
		return err
	}
	defer closeAll(files)
	if setup.Config.Name != "" {
		o.Stderr = nil
	}
	if err := n.run(o, files, &setup.Config); err != nil {
		n.control.Close()
		return err
	}
	if setup.Config.Name == "" { // that of a named network ends with its last member
		n.child = n.pid
	}
	return nil
}

// run executes the gateway. Not through os/exec, which makes a process more to see
// whether it may use pidfds.
func (n *Network) run(o Options, files []*os.File, c *Config) error {
	program, args, err := o.Gateway()
	if err != nil {
		return err
	}
	defer program.Close()
	args = slices.Clip(args)
	if c.Name != "" {
		args = append(args, SharedArg)
	}
	attr := UserNamespace(c)
	if c.OnHost() {
		// The host process, which starts the gateway in a user namespace.
		args, attr = append(args, HostArg), &syscall.SysProcAttr{Setsid: true}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("start the network's gateway: %w", err)
	}
	defer null.Close()
	given := []uintptr{null.Fd(), null.Fd(), null.Fd()}
	if o.Stderr != nil {
		given[2] = o.Stderr.Fd()
	}
	for _, f := range files {
		given = append(given, f.Fd())
	}
	above, err := aboveOf(program, given)
	if err != nil {
		return fmt.Errorf("start the network's gateway: %w", err)
	}
	defer above.Close()
	// Nothing of the caller's environment: it may hold secrets, and would be
	// readable in /proc.
	start := func() (int, error) {
		defer slackTimers()()
		return syscall.ForkExec("/proc/self/fd/"+strconv.Itoa(int(above.Fd())), args, &syscall.ProcAttr{Dir: "/", Env: []string{"GOTRACEBACK=none"}, Files: given, Sys: attr})
	}
	n.pid, err = start()
	// A program that has just been written can still be open for writing for a moment, in a process on its way
	// from fork to exec or to its end.
	for wait := time.Millisecond; errors.Is(err, unix.ETXTBSY) && wait < time.Second; wait *= 2 {
		time.Sleep(wait)
		n.pid, err = start()
	}
	if err != nil {
		hint := ""
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EACCES) {
			hint = "\nthe kernel lets this user make no user namespace"
		}
		return fmt.Errorf("start the network's gateway: %w%s", err, hint)
	}
	return nil
}

// timerSlack is how late a timer of the gateway may come, in nanoseconds. The one that matters is that of the Go
// runtime's watch over its threads (sysmon), which sleeps for 20 microseconds as long as there is work: with
// the usual slack of 50 it was a third of all switches between threads in a connection.
const timerSlack = 1_000_000

// slackTimers sets the slack that processes begun by this thread inherit (PR_SET_TIMERSLACK of prctl(2)), until the
// function that it gives is called.
func slackTimers() (restore func()) {
	runtime.LockOSThread()
	old, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0)
	}
	return func() {
		if err == nil {
			_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(old), 0, 0, 0)
		}
		runtime.UnlockOSThread()
	}
}

// aboveOf gives the file a number that a child on its way to exec does not use for
// anything else: it moves those it is given to numbers above all of theirs, with a
// pipe of its own, before it looks the program's path up (package syscall,
// forkAndExecInChild).
func aboveOf(f *os.File, given []uintptr) (*os.File, error) {
	least := max(int(slices.Max(given)), len(given)) + len(given) + 3
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, least)
	if err != nil {
		return nil, fmt.Errorf("give the program a descriptor of %d or above: %w", least, err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// UserNamespace is how a gateway process gets a user namespace of its own.
func UserNamespace(c *Config) *syscall.SysProcAttr {
	uid, gid := os.Getuid(), os.Getgid()
	if c.callerIsRoot() {
		uid, gid = 0, 0
	}
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: gid, HostID: os.Getgid(), Size: 1}},
		// Kept across the exec by an ordinary user; dropped by the gateway when the
		// links are made.
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_CHROOT},
		// Signals of the terminal are for the program.
		Setsid: true,
	}
}

// receive reads what the gateway says until it is gone.
func (n *Network) receive(events func(Event)) {
	defer close(n.done)
	defer func() { _ = n.knock.Close() }() // where no links were made
	waiting := true
	done := func(err error) {
		if !waiting {
			return
		}
		n.err, waiting = err, false
		if n.at == nil {
			close(n.spaces)
		}
		close(n.ready)
	}
	// late tells why there is no gateway when the program runs already. Its network is there and leads nowhere.
	late := func(err error) {
		if !waiting && events != nil {
			events(Event{Time: time.Now(), Kind: "notice", Why: "there is no gateway, and nothing leaves the sandbox: " + err.Error()})
		}
	}
	for {
		var r Reply
		files, err := Receive(n.control, &r)
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET): // reset when what was sent to it is unread
			err = errors.New("it ended before the network was ready" + n.reap())
			if n.held != nil && n.held.Failure() != nil {
				err = n.held.Failure()
				late(err)
			}
			done(fmt.Errorf("the network's gateway: %w", err))
			return
		case err != nil:
			n.end()
			done(fmt.Errorf("the network's gateway: %w", err))
			n.reap()
			return
		case r.Error != "":
			late(errors.New(r.Error))
			done(errors.New(r.Error))
		case r.Spaces && len(files) == 5 && n.at == nil && n.held != nil:
			n.at = &Attached{UserNS: files[0], NetNS: files[1], Plan: n.Plan}
			close(n.spaces)
			if wait, err := n.linked(files); !wait || err != nil {
				done(err)
			}
		case r.Ready != nil && n.held != nil:
			n.took()
			done(nil)
		case r.Spaces && len(files) == 2 && n.at == nil && waiting:
			n.at = &Attached{UserNS: files[0], NetNS: files[1], Plan: n.Plan}
			close(n.spaces)
		case r.Ready != nil && n.at != nil && waiting:
			n.pid, n.at.Way = r.Ready.PID, r.Ready.Way
			if r.Ready.Plan != nil {
				n.at.Plan = r.Ready.Plan
			}
			done(nil)
		case r.Resolvers:
			n.tellResolvers()
		case r.Event != nil && events != nil:
			events(*r.Event)
		}
	}
}

// reap waits for the end of the gateway, and tells of one that was not of its own doing.
func (n *Network) reap() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var status unix.WaitStatus
	for n.child != 0 {
		_, err := unix.Wait4(n.child, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		n.child = 0
		switch {
		case err == nil && status.Signaled():
			return fmt.Sprintf(" (signal %d: %v)", int(status.Signal()), status.Signal())
		case err == nil && status.ExitStatus() != 0:
			return fmt.Sprintf(" (exit code %d)", status.ExitStatus())
		}
	}
	return ""
}

// Spaces waits for the sandbox's namespaces: the owner of its network, and the
// network, which is empty yet. No program may run in it until Ready has returned.
func (n *Network) Spaces() (userNS, netNS *os.File, err error) {
	<-n.spaces
	if n.at == nil {
		return nil, nil, n.err
	}
	return n.at.UserNS, n.at.NetNS, nil
}

// Ready waits until the sandbox's network stands and gives what the launcher
// needs. Its files belong to the Network.
func (n *Network) Ready() (*Attached, error) {
	<-n.ready
	return n.at, n.err
}

// Done is closed when the gateway has ended. Unless Close was called the sandbox is
// then without a network: nothing leaves it any more.
func (n *Network) Done() <-chan struct{} { return n.done }

// PID is the gateway process, once Ready has returned.
func (n *Network) PID() int { return n.pid }

// Close takes the network down. The gateway ends by itself when the control
// socket is closed; what is left of its namespaces goes with the sandbox.
func (n *Network) Close() {
	n.close.Do(func() {
		if <-n.spawned; n.control == nil {
			return
		}
		n.dismiss()
		// Shut down rather than closed, so that receive can see it end.
		down := errors.New("no descriptor")
		if raw, err := n.control.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { down = unix.Shutdown(int(fd), unix.SHUT_WR) })
		}
		if down != nil {
			n.control.Close()
		}
		<-n.done
		n.control.Close()
		<-n.ready
		if n.at != nil {
			n.at.UserNS.Close()
			n.at.NetNS.Close()
		}
	})
}

// memfd puts bytes into an anonymous file.
func memfd(name string, b []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(b); err != nil {
		f.Close()
		return nil, fmt.Errorf("memfd: %w", err)
	}
	return f, nil
}
