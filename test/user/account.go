package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
)

// subordinateIDs is how many ids a user gets, as useradd(8) hands them out.
const subordinateIDs = 65536

type account struct {
	name, home string
	uid, gid   int
}

// ordinaryUser finds the user to run as, and makes it when the machine has none.
func ordinaryUser() (account, error) {
	name := os.Getenv("JAIL_TEST_USER")
	if name == "" {
		name = "jailtest"
	}
	found, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		if err := command("useradd", "--create-home", "--user-group", "--shell", "/bin/bash", name); err != nil {
			return account{}, err
		}
		found, err = user.Lookup(name)
	}
	if err != nil {
		return account{}, err
	}
	uid, err := strconv.Atoi(found.Uid)
	if err != nil {
		return account{}, fmt.Errorf("user %s: uid: %w", name, err)
	}
	gid, err := strconv.Atoi(found.Gid)
	if err != nil {
		return account{}, fmt.Errorf("user %s: gid: %w", name, err)
	}
	if uid == 0 {
		return account{}, fmt.Errorf("user %s is root: name an ordinary user in JAIL_TEST_USER", name)
	}
	who := account{name: name, home: found.HomeDir, uid: uid, gid: gid}
	if err := who.subordinate("/etc/subuid", "--add-subuids"); err != nil {
		return account{}, err
	}
	if err := who.subordinate("/etc/subgid", "--add-subgids"); err != nil {
		return account{}, err
	}
	return who, who.runtimeDir()
}

// subordinate sees to it that the user has a range in a file of subuid(5): useradd gives one only where that
// file was there before.
func (a account) subordinate(file, flag string) error {
	f, err := os.OpenFile(file, os.O_RDONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	free := 100000
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) != 3 {
			continue
		}
		if fields[0] == a.name || fields[0] == strconv.Itoa(a.uid) {
			return nil
		}
		first, err1 := strconv.Atoi(fields[1])
		count, err2 := strconv.Atoi(fields[2])
		if err1 == nil && err2 == nil {
			free = max(free, first+count)
		}
	}
	return command("usermod", flag, fmt.Sprintf("%d-%d", free, free+subordinateIDs-1), a.name)
}

// runtimeDir makes /run/user/UID where no login manager does (pam_systemd(8)): programs of a desktop expect it.
func (a account) runtimeDir() error {
	dir := a.runtimePath()
	if err := os.MkdirAll("/run/user", 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	}
	return os.Chown(dir, a.uid, a.gid)
}

func (a account) runtimePath() string { return "/run/user/" + strconv.Itoa(a.uid) }

// environment is what a login gives, plus what a test run is told by. Nothing of root's own gets through:
// its caches and temporary folders are closed to the user.
func (a account) environment(root []string) []string {
	env := []string{
		"HOME=" + a.home, "USER=" + a.name, "LOGNAME=" + a.name, "SHELL=/bin/bash",
		"XDG_RUNTIME_DIR=" + a.runtimePath(),
	}
	for _, variable := range root {
		name, _, _ := strings.Cut(variable, "=")
		switch {
		case name == "PATH", name == "LANG", name == "TERM", name == "CI", strings.HasPrefix(name, "LC_"),
			strings.HasPrefix(name, "JAIL_"),
			name == "GOPROXY", name == "GOFLAGS", name == "GOSUMDB", name == "GOTOOLCHAIN", name == "GODEBUG",
			name == "GOTRACEBACK", name == "GORACE":
			env = append(env, variable)
		}
	}
	return env
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
