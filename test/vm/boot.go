package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// bootLimit is long enough for a busy machine under emulation: half a minute to a minute is usual on an idle one.
const bootLimit = 10 * time.Minute

// boot says what to start.
type boot struct {
	release string
	plain   bool // without systemd
}

func (b boot) String() string {
	if b.plain {
		return b.release + " without systemd"
	}
	return b.release
}

// state is the folder that tells other calls about a guest which stays.
func (h home) state(b boot) string {
	return filepath.Join(h.cache, "running-"+strings.ReplaceAll(b.String(), " ", "-"))
}

// stage is the folder shared with the guest as /stage.
func (h home) stage() string { return filepath.Join(h.cache, "stage") }

// start boots a guest and waits until its users can log in. One that does not stay ends with this process.
func (h home) start(b boot, stay bool) (*guest, error) {
	image, err := h.image(b.release)
	if err != nil {
		return nil, err
	}
	dir := h.state(b)
	if stay {
		if _, err := h.running(b); err == nil {
			return nil, fmt.Errorf("a %s guest is running already: test/vm/run stop %s", b, b.release)
		}
		err = os.MkdirAll(dir, 0o755)
	} else {
		dir, err = os.MkdirTemp("", "jail-guest")
	}
	if err := errors.Join(err, os.MkdirAll(h.stage(), 0o755)); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	g := &guest{boot: b, dir: dir, key: filepath.Join(image, "key"), port: port, ours: true}
	begun := time.Now()
	if err := h.launch(g, image); err != nil {
		return nil, err
	}
	defer g.stopOnSignal()() // one that is to stay, too, until it is up
	if err := g.waitForLogin(); err != nil {
		g.stop()
		return nil, fmt.Errorf("%s guest: %w", b, err)
	}
	g.ours = !stay
	fmt.Fprintf(os.Stderr, "test/vm: %s booted in %.0f s (%s)\n", b, time.Since(begun).Seconds(), g.accel)
	return g, os.WriteFile(filepath.Join(dir, "guest"), fmt.Appendf(nil, "%d %d %s\n", g.pid, g.port, image), 0o600)
}

// launch starts QEMU.
func (h home) launch(g *guest, image string) error {
	g.accel = h.accelerator(image)
	kernelLine := "root=/dev/vda rw console=ttyS0 quiet panic=-1 loglevel=4 net.ifnames=0 systemd.show_status=0 mitigations=off"
	// Debian's kernel has the calls of x32 only when told so: what jail does about them can be seen nowhere else.
	kernelLine += " syscall.x32=y"
	if g.boot.plain {
		// Without Landlock, too: a machine that has little.
		kernelLine += " init=/sbin/plain-init lsm=lockdown,yama,apparmor"
	}
	if g.boot.release == "bullseye" {
		kernelLine += " systemd.unified_cgroup_hierarchy=1"
	}
	cpu, processors := "max", "2"
	if g.accel != "kvm" {
		// On a busy machine the guest's clocks disagree. Its kernel then changes its own code for another one, while
		// QEMU still runs the old code on the second processor, and crashes (seen with Linux 6.12).
		kernelLine += " tsc=reliable"
		if g.boot.release == "trixie" {
			// That kernel changes its code at other times as well, and loading modules that use the newest instructions
			// takes so long that systemd gives up.
			cpu, processors = "Nehalem", "1"
			kernelLine += " nowatchdog" // what is slow is not stuck
		}
	}
	kernelLine += " " + h.words // last, so that they win
	swap := filepath.Join(g.dir, "swap")
	if err := errors.Join(os.WriteFile(swap, nil, 0o600), os.Truncate(swap, 256<<20)); err != nil {
		return err
	}
	// snapshot=on: what the guest writes goes to a file of its own that is gone with it, so every boot is the first.
	// restrict=on: the guest reaches nothing but its login port, so tests cannot touch a real network.
	cmd := exec.Command("qemu-system-x86_64", "-accel", g.accel, "-cpu", cpu, "-smp", processors, "-m", "2048",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(image, "kernel"), "-initrd", filepath.Join(image, "initrd"), "-append", kernelLine,
		"-serial", "file:"+g.log(),
		"-drive", "if=virtio,format=raw,snapshot=on,file="+strings.ReplaceAll(filepath.Join(image, "root.ext4"), ",", ",,"),
		"-drive", "if=virtio,format=raw,file="+strings.ReplaceAll(swap, ",", ",,"),
		"-netdev", fmt.Sprintf("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:%d-:22", g.port),
		"-device", "virtio-net-pci,netdev=net,romfile=",
		"-device", "virtio-rng-pci",
		"-virtfs", share("src", h.tree), "-virtfs", share("stage", h.stage()))
	said, err := os.Create(filepath.Join(g.dir, "qemu.log"))
	if err != nil {
		return err
	}
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start QEMU: %w (hint: `make deps` installs qemu-system-x86)", err)
	}
	g.pid = cmd.Process.Pid
	g.ended = make(chan error, 1)
	go func() { g.ended <- cmd.Wait() }()
	return nil
}

// share is a folder of the host that the guest sees, read-only, with the host's modes and owners.
func share(tag, dir string) string {
	return fmt.Sprintf("local,mount_tag=%s,path=%s,security_model=none,readonly=on,multidevs=remap", tag, strings.ReplaceAll(dir, ",", ",,"))
}

// accelerator is kvm where a kernel really runs under it. /dev/kvm is there on machines where a guest then hangs,
// so a kernel is started to see whether it says anything; the answer holds until the next boot of the host.
func (h home) accelerator(image string) string {
	const emulation = "tcg,thread=multi"
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return emulation
	}
	kvm.Close()
	bootID, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return emulation
	}
	kept := filepath.Join(h.cache, "kvm-"+strings.TrimSpace(string(bootID)))
	if answer, err := os.ReadFile(kept); err == nil {
		return string(answer)
	}
	answer := emulation
	probe := exec.Command("timeout", "--kill-after=1", "10", "qemu-system-x86_64", "-accel", "kvm", "-cpu", "max", "-m", "256",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", filepath.Join(image, "kernel"), "-append", "console=ttyS0 earlyprintk=ttyS0 panic=-1")
	if out, err := probe.Output(); err == nil && strings.Contains(string(out), "Linux version") {
		answer = "kvm"
	}
	_ = os.WriteFile(kept, []byte(answer), 0o600)
	return answer
}

// freePort finds a port of the loopback for the guest's login service.
func freePort() (int, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// waitForLogin waits for the login service, and for the ordinary user's manager to be up.
func (g *guest) waitForLogin() error {
	deadline := time.Now().Add(bootLimit)
	for !g.answers() {
		select {
		case err := <-g.ended:
			return fmt.Errorf("QEMU ended (%w)\n%s", err, g.lastWords())
		case <-time.After(200 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no login service after %v\n%s", bootLimit, g.lastWords())
		}
	}
	ready := localCopies
	if !g.boot.plain {
		// Lingering starts the manager at boot, but nothing waits for it, nor for the shared folders, before logins
		// are possible. Root lingers too: the mount of its /run/user must not go in the middle of a test that looks
		// for mounts left behind.
		ready = "loginctl enable-linger root; systemctl start src.mount stage.mount user@1000.service\n" + localCopies
	}
	var out []byte
	var err error
	for range 3 {
		if out, err = g.output("root", ready); err == nil {
			return nil
		}
		time.Sleep(time.Second)
	}
	return fmt.Errorf("%s: %w: %s\n%s", ready, err, out, g.lastWords())
}

// localCopies makes room in the guest's memory for the programs that refresh copies: run from the shared folder they
// take ten times longer, since every page of them is fetched from the host anew. Without --make-private what is mounted on
// top would show in the bind as well: systemd shares all mounts.
const localCopies = `set -e
mount --make-private /src && mount --make-private /stage
mkdir -p /host/src /host/stage
mount --bind /src /host/src && mount -t tmpfs -o mode=755 bin /src/bin
mount --bind /stage /host/stage && mount -t tmpfs -o mode=755 stage /stage
`

// answers tells whether the guest's login service greets. QEMU itself accepts connections from the start.
func (g *guest) answers() bool {
	conn, err := net.Dial("tcp4", "127.0.0.1:"+strconv.Itoa(g.port))
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return false
	}
	greeting, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(greeting, "SSH-")
}

// lastWords is the end of what kernel and QEMU said.
func (g *guest) lastWords() string {
	var words strings.Builder
	for _, file := range []string{g.log(), filepath.Join(g.dir, "qemu.log")} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(&words, "%s ends:\n%s\n", file, strings.Join(lines[max(0, len(lines)-20):], "\n"))
	}
	return words.String()
}
