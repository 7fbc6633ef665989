package console

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary plays three parts. Under CONSOLE_TEST=jail it is a launcher
// with no sandbox: it gives the program a terminal as the real one does, with a
// pid 1 of its own, which is the test binary again under CONSOLE_TEST=init.
func TestMain(m *testing.M) {
	switch os.Getenv("CONSOLE_TEST") {
	case "jail":
		os.Exit(playJail(os.Args[1:]))
	case "init":
		os.Exit(playInit(os.Args[1:]))
	case "program":
		os.Exit(playProgram(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func fail(err error) int {
	fmt.Fprintf(os.Stderr, "jail: %v\r\n", err)
	return 125
}

func playJail(args []string) int {
	c, err := Open([3]*os.File{os.Stdin, os.Stdout, os.Stderr})
	if err != nil {
		return fail(err)
	}
	defer c.Close()
	master, slave, err := openPTY()
	if err != nil {
		return fail(err)
	}
	settings, size := c.Settings()
	_ = unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, &settings)
	_ = unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &size)

	// Datagrams, so that no report is torn: a byte and a number.
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	inner := exec.Command("/proc/self/exe", args...)
	inner.Env = append(os.Environ(), "CONSOLE_TEST=init", "CONSOLE_FRONT="+strconv.FormatBool(c.Foreground()))
	inner.ExtraFiles = []*os.File{slave, os.NewFile(uintptr(pair[1]), "events")}
	inner.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	for i, std := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if c.Replaced()[i] {
			std = slave
		}
		switch i {
		case 0:
			inner.Stdin = std
		case 1:
			inner.Stdout = std
		case 2:
			inner.Stderr = std
		}
	}
	if err := inner.Start(); err != nil {
		return fail(err)
	}
	slave.Close()
	_ = unix.Close(pair[1])
	tell := func(what byte, n int) { _, _ = unix.Write(pair[0], []byte{what, byte(n)}) }

	if os.Getenv("CONSOLE_FD_FLAGS") != "" {
		flags, _ := unix.FcntlInt(0, unix.F_GETFL, 0)
		defer func() {
			after, _ := unix.FcntlInt(0, unix.F_GETFL, 0)
			fmt.Printf("flags kept: %v\r\n", after == flags)
		}()
	}
	err = c.Attach(master, Hooks{
		Ready: true,
		Foreground: func(front bool) {
			if front {
				tell('f', 0)
			} else {
				tell('b', 0)
			}
		},
		Signal: func(sig syscall.Signal) { tell('s', int(sig)) },
	})
	if err != nil {
		return fail(err)
	}
	if os.Getenv("CONSOLE_PANIC") != "" {
		time.Sleep(200 * time.Millisecond)
		c.do(func() { panic("as asked") })
		time.Sleep(time.Minute)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	passed := make(chan os.Signal, 8)
	signal.Notify(passed, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGTSTP)
	go func() {
		for sig := range passed {
			tell('s', int(sig.(syscall.Signal)))
			if sig == unix.SIGTERM {
				cancel()
			}
		}
	}()
	for {
		var b [2]byte
		n, err := unix.Read(pair[0], b[:])
		if err == unix.EINTR {
			continue
		}
		if n != 2 {
			return fail(fmt.Errorf("pid 1 is gone"))
		}
		if b[0] == 'S' {
			if err := c.Suspend(syscall.Signal(b[1])); err != nil {
				return fail(err)
			}
			tell('s', int(unix.SIGCONT))
			continue
		}
		_ = c.Drain(ctx)
		return int(b[1])
	}
}

// playInit is pid 1: it leads the session and reports what becomes of the program.
func playInit(args []string) int {
	// An init has no default actions; this one only plays at it.
	for _, sig := range initIgnores {
		_ = setAction(sig, &sigaction{handler: ignoreSignal}, nil)
	}
	program := exec.Command("/proc/self/exe", args...)
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, os.Stdout, os.Stderr
	program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Ctty: 3, Foreground: os.Getenv("CONSOLE_FRONT") == "true"}
	program.Env = append(os.Environ(), "CONSOLE_TEST=program")
	if err := program.Start(); err != nil {
		_, _ = unix.Write(4, []byte{'X', 127})
		return 127
	}
	pid := program.Process.Pid
	go func() {
		for {
			var b [2]byte
			n, err := unix.Read(4, b[:])
			if err == unix.EINTR {
				continue
			}
			if n != 2 { // the supervisor is dead
				_ = unix.Kill(-pid, unix.SIGKILL)
				os.Exit(0)
			}
			switch b[0] {
			case 'f':
				_ = unix.IoctlSetPointerInt(3, unix.TIOCSPGRP, pid)
			case 'b':
				_ = unix.IoctlSetPointerInt(3, unix.TIOCSPGRP, unix.Getpgrp())
			case 's':
				_ = unix.Kill(-pid, syscall.Signal(b[1]))
			}
		}
	}()
	for {
		var ws unix.WaitStatus
		if _, err := unix.Wait4(pid, &ws, unix.WUNTRACED, nil); err == unix.EINTR {
			continue
		}
		switch {
		case ws.Stopped():
			_, _ = unix.Write(4, []byte{'S', byte(ws.StopSignal())})
			continue
		case ws.Signaled():
			_, _ = unix.Write(4, []byte{'X', 128 + byte(ws.Signal())})
		default:
			_, _ = unix.Write(4, []byte{'X', byte(ws.ExitStatus())})
		}
		return 0
	}
}

var initIgnores = []syscall.Signal{unix.SIGTTOU, unix.SIGTTIN, unix.SIGTSTP, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT}

// playProgram has the default actions back and becomes the program.
func playProgram(args []string) int {
	for _, sig := range initIgnores {
		_ = setAction(sig, &sigaction{}, nil)
	}
	_ = os.Unsetenv("CONSOLE_TEST")
	path, err := exec.LookPath(args[0])
	if err == nil {
		err = syscall.Exec(path, args, os.Environ())
	}
	return fail(err)
}

func openPTY() (master, slave *os.File, err error) {
	master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	conn, _ := master.SyscallConn()
	_ = conn.Control(func(fd uintptr) {
		var number uint32
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err != nil {
			return
		}
		if number, err = unix.IoctlGetUint32(int(fd), unix.TIOCGPTN); err != nil {
			return
		}
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	})
	return master, slave, err
}
