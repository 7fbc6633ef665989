// Package net_test shows what a sandbox's network holds, in a test internet of
// namespaces: no packet leaves them.
//
//	S (sandbox) -- G -- gateway process in H | H (the host) -- W (the internet)
//
// The test binary plays every part, by the word in JAIL_ROLE: itself in namespaces
// of its own (world), the supervisor of a sandbox (run), the program
// inside (probe).
package net_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"jail/netsetup"
	"jail/netsetup/program"
)

func TestMain(m *testing.M) {
	switch os.Getenv("JAIL_ROLE") {
	case "":
		os.Exit(reexec())
	case "world":
		if command := os.Getenv("JAIL_WORLD_COMMAND"); command != "" {
			os.Exit(commandRole(command))
		}
		os.Exit(m.Run())
	case "run":
		os.Exit(runRole())
	case "join":
		os.Exit(joinRole())
	case "probe":
		os.Exit(probeRole(os.Args[1:]))
	}
	fmt.Fprintln(os.Stderr, "unknown role")
	os.Exit(2)
}

// reexec runs the tests as the same user in a user and network namespace of its
// own, where it may make the world. What it starts there gets none of its
// capabilities.
func reexec() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), "JAIL_ROLE=world")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_NET_BIND_SERVICE, unix.CAP_SETPCAP},
		Pdeathsig:   syscall.SIGKILL,
	}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "in the world of namespaces:", err)
		return 1
	}
	return 0
}

// commandRole runs a shell command in the world instead of the tests: for looking around by hand.
func commandRole(command string) int {
	if err := makeWorld(); err != nil {
		return failed(err)
	}
	cmd := exec.Command("setpriv", append(dropAll[:len(dropAll):len(dropAll)], "sh", "-c", command)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return failed(err)
	}
	return 0
}

// fromMemory opens the gateway as a start does that can keep nothing.
func fromMemory() (*os.File, []string, error) { return program.Open(nil) }

// runRole is the supervisor of a sandbox: it takes the network's annotation from
// JAIL_NETWORK and runs a probe inside. The probe is root of a user namespace below
// the gateway's: the most that any program can get.
func runRole() int {
	c, err := netsetup.Parse(os.Getenv("JAIL_NETWORK"))
	if err != nil {
		return failed(err)
	}
	n, err := netsetup.Start(c, netsetup.Options{
		Gateway: fromMemory, Hostname: "inside", Stderr: os.Stderr, Sandbox: os.Getenv("JAIL_NAME"), Lock: os.Getenv("JAIL_LOCK"),
		Events: func(e netsetup.Event) {
			b, _ := json.Marshal(e)
			fmt.Printf("event %s\n", b)
		},
	})
	if err != nil {
		return failed(err)
	}
	defer n.Close()
	at, err := n.Ready()
	if err != nil {
		return failed(err)
	}
	fmt.Printf("ready %s %d\n", at.Way, n.PID())
	if err := leaveMemo(at); err != nil {
		return failed(err)
	}
	return inside(at)
}

// leaveMemo writes down, where JAIL_MEMO says, what somebody who joins needs.
func leaveMemo(at *netsetup.Attached) error {
	path := os.Getenv("JAIL_MEMO")
	if path == "" {
		return nil
	}
	memo, err := at.Memo()
	if err == nil {
		err = os.WriteFile(path+".plan", memo, 0o600)
	}
	if err == nil {
		err = os.Symlink(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), at.NetNS.Fd()), path)
	}
	return err
}

// joinRole is the supervisor of a sandbox in the network of the one that left a memo.
func joinRole() int {
	netns, err := os.Open(os.Getenv("JAIL_MEMO"))
	if err != nil {
		return failed(err)
	}
	memo, err := os.ReadFile(os.Getenv("JAIL_MEMO") + ".plan")
	if err != nil && !os.IsNotExist(err) {
		return failed(err)
	}
	at, err := netsetup.Join("target", netns, memo)
	if err != nil {
		return failed(err)
	}
	return inside(at)
}

// inside runs the probe.
func inside(at *netsetup.Attached) int {
	dir, err := os.MkdirTemp("", "net")
	if err != nil {
		return failed(err)
	}
	defer os.RemoveAll(dir)
	for name, content := range map[string][]byte{"resolv.conf": at.Plan.ResolvConf, "hosts": at.Plan.HostsIn} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return failed(err)
		}
	}
	cmd := exec.Command("nsenter", append([]string{"--user=/proc/self/fd/3", "--net=/proc/self/fd/4", "--preserve-credentials", "--",
		"unshare", "-r", "-m", "sh", "-c", `mount --bind "$0/resolv.conf" /etc/resolv.conf && mount --bind "$0/hosts" /etc/hosts && exec "$@"`,
		dir, os.Getenv("JAIL_SELF")}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), "JAIL_ROLE=probe", "GATEWAY4="+at.Plan.Gateway4.String(), "HOST4="+at.Plan.Host4.String())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{at.UserNS, at.NetNS}
	if err := cmd.Run(); err != nil {
		return failed(err)
	}
	return 0
}

func failed(err error) int {
	fmt.Fprintln(os.Stderr, "error:", err)
	return 1
}
