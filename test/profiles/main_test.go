// Package profiles proves the shipped profiles: it runs the programs they are for, as an ordinary user, in a test
// internet of namespaces from which no packet leaves.
//
//	the program -- jail -- H (the host) | W (the internet: web, registries, names)
//
// For each profile there is one thing that its program must manage, and three that nothing in it may do: read a
// key of the user's, reach a host that is not granted, change a file outside. What must not be done is first
// done outside, so that it is known to be there.
//
// The test binary plays every part, by the word in JAIL_ROLE: itself in namespaces of its own (world), and the
// program inside that tries what it must not (probe).
package profiles

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	switch os.Getenv("JAIL_ROLE") {
	case "":
		os.Exit(reexec())
	case "world":
		if command := os.Getenv("JAIL_WORLD_COMMAND"); command != "" {
			os.Exit(worldCommand(command))
		}
		os.Exit(m.Run())
	case "probe":
		os.Exit(probe(os.Args[1:]))
	}
	fmt.Fprintln(os.Stderr, "unknown role")
	os.Exit(2)
}

// reexec runs the tests as the same user in a user, mount and network namespace of its own, where it may make the
// world. What it starts there for a test gets none of its capabilities.
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
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode()
		}
		fmt.Fprintln(os.Stderr, "in the world of namespaces:", err)
		return 1
	}
	return 0
}

// worldCommand runs a shell command in the world instead of the tests: for looking around by hand.
func worldCommand(command string) int {
	if err := makeWorld(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	cmd := ordinary("sh", "-c", command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

// ordinary makes a command run without the capabilities that the makers of the world have in it.
func ordinary(argv ...string) *exec.Cmd {
	return exec.Command("setpriv", append([]string{"--ambient-caps=-all", "--inh-caps=-all", "--"}, argv...)...)
}
