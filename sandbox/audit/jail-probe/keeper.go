package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

// keep holds bait of the kind that needs a process, and takes it all away when standard input ends. The folder has
// what keep shares with who started it: run, and a file called secret.
func keep(dir string) int {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0)
	// Where the Yama module lets only parents trace, the bait must still be there to be taken.
	_ = unix.Prctl(unix.PR_SET_PTRACER, bad, 0, 0, 0)
	secret, err := os.Open(filepath.Join(dir, "secret"))
	if err != nil {
		fmt.Fprintf(os.Stderr, "jail-probe: %v\n", err)
		return 1
	}
	text, err := io.ReadAll(io.LimitReader(secret, 4096))
	if err != nil {
		fmt.Fprintf(os.Stderr, "jail-probe: %v\n", err)
		return 1
	}
	k := &check.Keeper{PID: os.Getpid(), Address: uint64(uintptr(unsafe.Pointer(&text[0]))), Length: len(text), FD: int(secret.Fd())}
	name := filepath.Base(dir)
	for _, l := range []struct {
		to      *string
		network string
		address string
	}{
		{&k.TCP4, "tcp4", "127.0.0.1:0"}, {&k.TCP6, "tcp6", "[::1]:0"}, {&k.HostTCP4, "tcp4", net.JoinHostPort(ownAddress(), "0")},
		{&k.Abstract, "unix", "@" + name}, {&k.X11, "unix", "@/tmp/.X11-unix/" + name},
		{&k.UnixTemp, "unix", filepath.Join(os.TempDir(), name+".sock")}, {&k.UnixRun, "unix", filepath.Join(dir, "run", "bus")},
	} {
		if l.address == ":0" {
			continue
		}
		listener, err := net.Listen(l.network, l.address)
		if err != nil {
			continue // what this machine does not have is no bait
		}
		defer listener.Close()
		*l.to = listener.Addr().String()
		go accept(listener)
	}
	k.Abstract, k.X11 = trimAt(k.Abstract), trimAt(k.X11)
	if c, err := net.ListenPacket("udp4", "127.0.0.1:0"); err == nil {
		defer c.Close()
		k.UDP4 = c.LocalAddr().String()
		go answer(c)
	}
	if c, err := net.ListenPacket("unixgram", "@"+name+"-datagram"); err == nil {
		defer c.Close()
		k.Datagram = trimAt(c.LocalAddr().String())
	}
	defer keepIPC(k, name)()
	_ = json.NewEncoder(os.Stdout).Encode(k)

	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		ended <- unix.SIGTERM
	}()
	<-ended
	runtime.KeepAlive(text)
	return 0
}

func trimAt(s string) string {
	if s != "" && s[0] == '@' {
		return s[1:]
	}
	return s
}

func accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		c.Close()
	}
}

func answer(c net.PacketConn) {
	buf := make([]byte, 64)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo([]byte("!"), from)
	}
}

// ownAddress is one of this machine's that is not the loopback's, "" for none. Nothing leaves the machine for it.
func ownAddress() string {
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String()
		}
	}
	return ""
}

// keepIPC makes System V objects, a message queue and a key, and gives the function that takes them away.
func keepIPC(k *check.Keeper, name string) func() {
	key := 0x6a610000 | os.Getpid()&0xffff
	const create = unix.IPC_CREAT | unix.IPC_EXCL | 0o600
	if id, err := unix.SysvShmGet(key, 4096, create); err == nil {
		k.Shm, k.ShmID = key, id
	}
	sem, _, semErr := unix.Syscall(unix.SYS_SEMGET, uintptr(key), 1, create)
	if semErr == 0 {
		k.Sem = key
	}
	msg, _, msgErr := unix.Syscall(unix.SYS_MSGGET, uintptr(key), create, 0)
	if msgErr == 0 {
		k.Msg = key
	}
	queue, _ := unix.BytePtrFromString(name)
	mq, _, mqErr := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(queue)), unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0o600, 0, 0, 0)
	if mqErr == 0 {
		k.Queue = name
	}
	id, err := unix.AddKey("user", name, []byte("bait"), unix.KEY_SPEC_USER_KEYRING)
	if err == nil {
		k.Key = name
	}
	return func() {
		if k.Shm != 0 {
			_, _ = unix.SysvShmCtl(k.ShmID, unix.IPC_RMID, nil)
		}
		if semErr == 0 {
			_, _, _ = syscall.Syscall6(unix.SYS_SEMCTL, sem, 0, unix.IPC_RMID, 0, 0, 0)
		}
		if msgErr == 0 {
			_, _, _ = syscall.Syscall(unix.SYS_MSGCTL, msg, unix.IPC_RMID, 0)
		}
		if mqErr == 0 {
			_ = unix.Close(int(mq))
			_, _, _ = syscall.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(queue)), 0, 0)
		}
		if k.Key != "" {
			_, _ = unix.KeyctlInt(unix.KEYCTL_UNLINK, id, unix.KEY_SPEC_USER_KEYRING, 0, 0)
		}
	}
}
