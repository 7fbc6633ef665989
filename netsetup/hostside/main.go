// Package hostside is the process that makes root's links on the host for a gateway
// that routes. It starts the gateway in a user namespace of its own, answers its one
// request, and takes away at the end what the kernel does not.
//
// Nothing is kept in a file: the link goes with the gateway's namespace, the host's
// rules go with this process's netlink socket, and both go however their owners end.
// What a CNI plugin has done is undone when the gateway ends.
package hostside

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"jail/netsetup"
	"jail/sandbox/confine"
)

// controlFD is the supervisor's control socket, which is the gateway's.
const controlFD = 3

// maxSetup bounds a setup message.
const maxSetup = 16 << 20

// Main is the host process. It gives its exit code.
func Main() int {
	runtime.LockOSThread()
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "jail net-gateway:", err)
		return 125
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(fmt.Errorf("socket pair: %w", err))
	}
	mine, theirs := os.NewFile(uintptr(pair[0]), "gateway"), os.NewFile(uintptr(pair[1]), "host")
	gateway, err := startGateway(theirs)
	theirs.Close()
	if err != nil {
		return fail(err)
	}
	c, err := net.FileConn(mine)
	mine.Close()
	if err != nil {
		return fail(err)
	}
	undo, done := serve(c.(*net.UnixConn))
	// An end of the socket that the gateway reads: without this process there is no
	// gateway either.
	_ = gateway.Wait()
	undo()
	done()
	c.Close()
	return 0
}

// startGateway hands on the descriptors that the supervisor has given.
func startGateway(host *os.File) (*exec.Cmd, error) {
	files := make([]*os.File, netsetup.HostFD-controlFD+1)
	given := []int{controlFD, netsetup.DoorFD, netsetup.KnockFD}
	args := []string{os.Args[0], netsetup.RoutedArg}
	if slices.Contains(os.Args[1:], netsetup.SharedArg) {
		args = append(args, netsetup.SharedArg)
		given = append(given, netsetup.SharedFD)
	}
	for _, fd := range given {
		files[fd-controlFD] = os.NewFile(uintptr(fd), "given")
	}
	files[netsetup.HostFD-controlFD] = host
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: args, Dir: "/", Env: os.Environ(), ExtraFiles: files, Stderr: os.Stderr, SysProcAttr: netsetup.UserNamespace(&netsetup.Config{})}
	err := cmd.Start()
	for _, f := range files[:len(files)-1] {
		if f != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start the network's gateway: %w", err)
	}
	return cmd, nil
}

// serve answers the gateway's request, and gives what undoes it. The gateway's namespace is held
// until then: plugins look into it.
func serve(c *net.UnixConn) (undo, done func()) {
	undo = nothing
	var req netsetup.Request
	files, err := netsetup.Receive(c, &req)
	done = func() {
		for _, f := range files {
			f.Close()
		}
	}
	if err != nil {
		return undo, done // the gateway has ended
	}
	if req.Op != "uplink" || len(files) != 2 {
		_ = netsetup.Send(c, netsetup.Reply{Error: fmt.Sprintf("unknown request %q", req.Op)})
		return undo, done
	}
	up, undo, err := answer(files[0], files[1])
	if err == nil {
		err = netsetup.Send(c, netsetup.Reply{Uplink: up})
	}
	if err != nil {
		undo()
		undo = nothing
		_ = netsetup.Send(c, netsetup.Reply{Error: err.Error()})
	}
	return undo, done
}

// nothing undoes what was not done.
func nothing() {}

func answer(setup, netns *os.File) (*netsetup.Uplink, func(), error) {
	s := &netsetup.Setup{}
	b, err := io.ReadAll(io.LimitReader(io.NewSectionReader(setup, 0, maxSetup), maxSetup))
	if err == nil {
		err = json.Unmarshal(b, s)
	}
	if err != nil {
		return nil, nothing, fmt.Errorf("setup message: %w", err)
	}
	if s.Config.CNI != "" {
		// Its plugins need at the end what they need now.
		return onCNI(&s.Config, netns)
	}
	up, undo, err := makeLink(&s.Config, netns)
	if err == nil {
		// The gateway's end is all there is to wait for.
		err = confine.Capabilities(0)
	}
	return up, undo, err
}
