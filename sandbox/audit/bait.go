package audit

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"jail/sandbox/audit/check"
)

// Planted is bait that lies out. Close takes all of it away.
type Planted struct {
	Bait     check.Bait
	ProbeDir string   // a folder with the probe, to be shown inside under the same path, for reading
	Env      []string // the environment to start a sandbox in: the bait's home, and secrets in variables

	probe    string
	dir      string
	leaked   []*os.File
	terminal *terminal
	keeper   *exec.Cmd
	stdin    interface{ Close() error }
	files    []string
}

// homeFiles are made in the home with the secret in each. The probe has the same names, and why they matter.
var homeFiles = []string{
	".bait", ".ssh/id_ed25519", ".ssh/authorized_keys", ".ssh/config", ".ssh/known_hosts", ".gnupg/private-keys-v1.d/key.key", ".aws/credentials", ".config/gcloud/credentials.db", ".kube/config",
	".docker/config.json", ".netrc", ".git-credentials", ".password-store/bank.gpg", ".mozilla/firefox/p.default/logins.json",
	".config/chromium/Default/Cookies", ".local/share/keyrings/login.keyring", ".bash_history", "Documents/tax.txt", ".bashrc", ".profile",
	".config/autostart/x.desktop", ".config/systemd/user/x.service", ".local/bin/x", ".config/git/config",
}

// homeFolders are those that profiles grant by their usual names.
var homeFolders = []string{"Desktop", "Downloads", "Music", "Pictures", "Videos", "Templates", "Public", "project"}

// secretVariables are set for the run, each with the secret in it.
var secretVariables = []string{"JAIL_AUDIT_SECRET=%s", "AWS_SECRET_ACCESS_KEY=%s", "GITHUB_TOKEN=%s", "SSH_AUTH_SOCK=/run/%s", "XAUTHORITY=/run/%s",
	"DBUS_SESSION_BUS_ADDRESS=unix:path=/run/bus,guid=%s", "LD_PRELOAD=/run/%s.so", "LD_LIBRARY_PATH=/run/%s", "BASH_ENV=/run/%s", "PYTHONPATH=/run/%s"}

// Place is where bait is planted when nothing speaks for another place. Not /tmp, which many sandboxes have one of
// their own of anyway.
const Place = "/var/tmp"

// Plant makes the bait in a new folder of place, and puts the probe into one of probes. config is where the user's profiles lie, without the trailing "jail";
// cache is where compiled filters may be kept. Neither is changed.
func Plant(place, probes, config, cache string) (*Planted, error) {
	dir, err := os.MkdirTemp(place, "jail-audit-")
	if err != nil {
		return nil, fmt.Errorf("plant bait: %w", err)
	}
	p := &Planted{dir: dir, ProbeDir: filepath.Join(probes, filepath.Base(dir)+"-probe")}
	p.files = []string{dir, p.ProbeDir}
	if err := p.plant(config, cache); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Planted) plant(config, cache string) error {
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails: crypto/rand
	b := &p.Bait
	b.Secret = hex.EncodeToString(random)
	name := filepath.Base(p.dir)
	b.Home, b.Runtime, b.Config = p.dir+"/home", p.dir+"/run", config
	b.Temp, b.VarTemp, b.ShmFile = filepath.Join("/tmp", name), "/var/tmp/"+name+"-file", "/dev/shm/"+name
	b.Stderr = p.dir + "/stderr"
	b.UID = os.Getuid()
	b.Hostname, _ = os.Hostname()
	for _, f := range homeFiles {
		if err := p.write(filepath.Join(b.Home, f)); err != nil {
			return err
		}
	}
	for _, f := range homeFolders {
		if err := os.MkdirAll(filepath.Join(b.Home, f), 0o755); err != nil {
			return fmt.Errorf("plant bait: %w", err)
		}
	}
	for _, f := range []string{p.dir + "/secret", b.Runtime + "/secret"} {
		if err := p.write(f); err != nil {
			return err
		}
	}
	if err := os.Chmod(b.Runtime, 0o700); err != nil {
		return fmt.Errorf("plant bait: %w", err)
	}
	p.files = append(p.files, b.Temp, b.VarTemp, b.Temp+".sock")
	key := filepath.Join(b.Home, ".ssh/id_ed25519")
	for _, err := range []error{p.write(b.Temp), os.Symlink(key, filepath.Join(b.Home, "link-to-key"))} {
		if err != nil {
			return fmt.Errorf("plant bait: %w", err)
		}
	}
	if os.Link(key, b.VarTemp) != nil { // another file system: then it is a copy
		if err := p.write(b.VarTemp); err != nil {
			return err
		}
	}
	if p.write(b.ShmFile) == nil {
		p.files = append(p.files, b.ShmFile)
	} else {
		b.ShmFile = ""
	}
	if err := os.Mkdir(p.ProbeDir, 0o755); err != nil {
		return fmt.Errorf("plant bait: %w", err)
	}
	p.probe = filepath.Join(p.ProbeDir, probeName)
	if err := writeProbe(p.probe, 0o755); err != nil {
		return err
	}
	if err := p.setID(); err != nil {
		return err
	}
	p.outside()
	p.environment(config, cache)
	if err := p.leak(); err != nil {
		return err
	}
	p.terminal = openTerminal() // where there is none, checks of terminals say so
	if p.terminal != nil {
		b.Terminal = p.terminal.id
	}
	return p.startKeeper()
}

func (p *Planted) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("plant bait: %w", err)
	}
	if err := os.WriteFile(path, []byte(p.Bait.Secret), 0o600); err != nil {
		return fmt.Errorf("plant bait: %w", err)
	}
	return nil
}

// setID makes a copy of the probe that runs with another id than its caller's: root's as another user, an ordinary
// user's with another group of theirs.
func (p *Planted) setID() error {
	path := p.probe + "-set-id"
	mode := os.FileMode(0o755)
	uid, gid := -1, -1
	if os.Getuid() == 0 {
		uid, mode = 65534, mode|os.ModeSetuid
	} else {
		groups, _ := os.Getgroups()
		for _, g := range groups {
			if g != os.Getegid() {
				gid, mode = g, mode|os.ModeSetgid
			}
		}
	}
	if mode == 0o755 {
		return nil
	}
	if err := writeProbe(path, 0o755); err != nil {
		return err
	}
	if os.Chown(path, uid, gid) != nil || os.Chmod(path, mode) != nil {
		return os.Remove(path)
	}
	p.Bait.SetID = path
	return nil
}

// outside is what the probe compares with.
func (p *Planted) outside() {
	b := &p.Bait
	b.Namespaces = map[string]string{}
	for _, kind := range []string{"user", "mnt", "pid", "ipc", "uts", "net", "cgroup"} {
		b.Namespaces[kind], _ = os.Readlink("/proc/self/ns/" + kind)
	}
	var st unix.Stat_t
	if unix.Stat("/", &st) == nil {
		b.Root = check.FileID{Dev: st.Dev, Ino: st.Ino}
	}
	entries, _ := filepath.Glob("/proc/[0-9]*")
	b.Processes = len(entries)
}

func (p *Planted) environment(config, cache string) {
	set := map[string]string{
		"HOME": p.Bait.Home, "XDG_RUNTIME_DIR": p.Bait.Runtime, "XDG_CONFIG_HOME": config, "XDG_CACHE_HOME": cache,
		"XDG_STATE_HOME": p.Bait.Home + "/.local/state", "XDG_DATA_HOME": p.Bait.Home + "/.local/share",
	}
	for _, v := range secretVariables {
		name, value, _ := strings.Cut(fmt.Sprintf(v, p.Bait.Secret), "=")
		set[name] = value
	}
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); set[name] == "" {
			p.Env = append(p.Env, kv)
		}
	}
	for name, value := range set {
		p.Env = append(p.Env, name+"="+value)
	}
}

// leak opens what a careless caller leaves open.
func (p *Planted) leak() error {
	for _, path := range []string{p.dir, p.dir + "/secret"} {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("plant bait: %w", err)
		}
		p.leaked = append(p.leaked, f)
	}
	return nil
}

// startKeeper starts the process that is bait itself.
func (p *Planted) startKeeper() error {
	p.keeper = exec.Command(p.probe, "keep", p.dir)
	p.keeper.Env, p.keeper.Stderr = p.Env, os.Stderr
	stdin, err := p.keeper.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := p.keeper.StdoutPipe()
	if err != nil {
		return err
	}
	if err := p.keeper.Start(); err != nil {
		p.keeper = nil
		if errors.Is(err, unix.EACCES) {
			return fmt.Errorf("start the audit's probe: %w: %s may be mounted with noexec", err, filepath.Dir(p.ProbeDir))
		}
		return fmt.Errorf("start the audit's probe: %w", err)
	}
	p.stdin = stdin
	if err := json.NewDecoder(stdout).Decode(&p.Bait.Keeper); err != nil {
		return fmt.Errorf("the process that keeps bait said nothing: %w", err)
	}
	return nil
}

// Close takes the bait away.
func (p *Planted) Close() {
	if p.keeper != nil {
		_ = p.stdin.Close()
		timer := time.AfterFunc(5*time.Second, func() { _ = p.keeper.Process.Kill() })
		_ = p.keeper.Wait()
		timer.Stop()
	}
	if p.terminal != nil {
		p.terminal.close()
	}
	for _, f := range p.leaked {
		f.Close()
	}
	for _, f := range p.files {
		_ = os.RemoveAll(f)
	}
}
