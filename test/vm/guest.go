package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// guest is a booted virtual machine.
type guest struct {
	boot  boot
	dir   string // logs and the sockets of login connections
	key   string
	port  int
	pid   int
	accel string
	ours  bool       // ends with this process
	ended chan error // of a guest that this process started
}

// log is where the guest's console goes.
func (g *guest) log() string { return filepath.Join(g.dir, "console.log") }

// running finds a guest that `start` left.
func (h home) running(b boot) (*guest, error) {
	g, err := readGuest(h.state(b))
	if err != nil {
		return nil, fmt.Errorf("no %s guest is running: %w", b, err)
	}
	g.boot = b
	return g, nil
}

// imagesInUse are the folders of the images that guests which stay run from.
func (h home) imagesInUse() map[string]bool {
	used := map[string]bool{}
	states, _ := filepath.Glob(filepath.Join(h.cache, "running-*"))
	for _, dir := range states {
		if g, err := readGuest(dir); err == nil {
			used[filepath.Dir(g.key)] = true
		}
	}
	return used
}

// readGuest reads what start wrote about a guest, and sees whether it still runs.
func readGuest(dir string) (*guest, error) {
	text, err := os.ReadFile(filepath.Join(dir, "guest"))
	if err != nil {
		return nil, err
	}
	g := &guest{dir: dir}
	var image string
	if _, err := fmt.Sscan(string(text), &g.pid, &g.port, &image); err != nil {
		return nil, fmt.Errorf("%s/guest: %w", dir, err)
	}
	g.key = filepath.Join(image, "key")
	// The number may be another process's by now.
	line, err := os.ReadFile("/proc/" + strconv.Itoa(g.pid) + "/cmdline")
	if err != nil || !strings.Contains(string(line), fmt.Sprintf("127.0.0.1:%d-:22", g.port)) {
		return nil, fmt.Errorf("process %d has ended", g.pid)
	}
	return g, nil
}

// ssh is a command in the guest, run in /src as the named user, with this process's standard streams. A single word
// is a shell's command line; several are one command.
func (g *guest) ssh(user string, argv []string, options ...string) *exec.Cmd {
	command := argv[0]
	if len(argv) > 1 {
		quoted := make([]string, len(argv))
		for i, arg := range argv {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		command = strings.Join(quoted, " ")
	}
	args := append([]string{"-F", "none", "-i", g.key, "-p", strconv.Itoa(g.port), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes",
		"-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=10",
		// One handshake for all commands of a user: each takes a second under emulation.
		"-o", "ControlMaster=auto", "-o", "ControlPath=" + filepath.Join(g.dir, "%r"), "-o", "ControlPersist=60"}, options...)
	args = append(args, user+"@127.0.0.1", g.setting()+" "+command)
	cmd := exec.Command("ssh", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd
}

// setting is what every command in the guest starts with. package need reads these variables.
func (g *guest) setting() string {
	init := "systemd"
	if g.boot.plain {
		init = "plain"
	}
	return fmt.Sprintf("cd /src && export PATH=$PATH:/usr/sbin:/sbin JAIL_GUEST=%s JAIL_GUEST_INIT=%s CI=%s &&",
		g.boot.release, init, os.Getenv("CI"))
}

// refresh copies the programs that the host has built since into the guest. Folders beside them (bin/man) stay behind.
func (g *guest) refresh() error {
	out, err := g.output("root", `for file in /host/src/bin/* /host/stage/*; do
	case $file in */golangci-lint*|*'*') continue ;; */src/*) to=/src/bin ;; *) to=/stage ;; esac
	[ -f "$file" ] && [ "$file" -nt "$to/${file##*/}" ] || continue
	cp -p --remove-destination "$file" "$to/" || exit
done`)
	if err != nil {
		return fmt.Errorf("copy programs into the guest: %w: %s", err, out)
	}
	return nil
}

// output runs a shell's command line and gives what it printed.
func (g *guest) output(user, command string) ([]byte, error) {
	cmd := g.ssh(user, []string{command})
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, nil, nil
	return cmd.CombinedOutput()
}

func (g *guest) shell(user string) error {
	return g.ssh(user, []string{"exec bash -i"}, "-t").Run()
}

// leave ends the guest, unless it is one that stays.
func (g *guest) leave() {
	if g.ours {
		g.stop()
	}
}

// stop ends the guest. Nothing of it is kept, so it need not be shut down.
func (g *guest) stop() {
	if err := syscall.Kill(g.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		fmt.Fprintf(os.Stderr, "test/vm: end QEMU (process %d): %v\n", g.pid, err)
	}
	if g.ended != nil {
		select {
		case <-g.ended: //nolint:errcheck // it was killed, and says so
		case <-time.After(10 * time.Second):
		}
	}
	// Login connections end by themselves when the guest is gone; their sockets lie in the folder.
	_ = os.RemoveAll(g.dir)
}
