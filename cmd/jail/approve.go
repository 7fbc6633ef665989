package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"jail/policy"
)

type approveCmd struct {
	File   string `arg:"" optional:"" name:"file" placeholder:"[FILE]" help:"A .jail.yaml, or the folder it lies in. Default: that of the working directory."`
	Revoke bool   `name:"revoke" help:"Take an approval back."`
	List   bool   `name:"list" help:"Print the files that are approved."`
}

// Help is the text below the command's first line.
func (approveCmd) Help() string {
	return `A .jail.yaml in the working directory counts for every program that is started there. As long as nobody has approved it, it may only take away: hide files, make them read-only, cut off the network, lower limits, deny system calls. Approved, it is one more file between the profile and the command line, and may grant whatever a profile can, so read it first.

The approval is for this file with this text. When the text changes it has to be given again.`
}

func (approveCmd) examples() []example {
	return []example{
		{"jail approve", "Accept the .jail.yaml of this folder, and list what it grants."},
		{"jail approve --revoke ~/src/app", "Take that back."},
		{"jail approve --list", "The files that are approved, and those that have changed since."},
	}
}

// projectLimit is far above any real project file.
const projectLimit = 1 << 20

// Run approves a project file.
func (c *approveCmd) Run(a *app) error {
	host, err := a.host()
	if err != nil {
		return err
	}
	if c.List {
		if c.File != "" || c.Revoke {
			return errors.New("--list goes with nothing else")
		}
		return a.listApprovals(host)
	}
	file, err := projectFile(c.File)
	if err != nil {
		return err
	}
	if c.Revoke {
		return a.revoke(file, host)
	}
	text, _, err := host.FS.ReadPlain(file, projectLimit)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &hinted{fmt.Errorf("%s: no such file", file), "'jail explain' and 'jail profiles' tell what holds without one"}
	case err != nil:
		return fmt.Errorf("%s: %w", file, err)
	}
	beyond, err := policy.BeyondTightening(text)
	if err != nil {
		return err
	}
	if err := writeApproval(policy.NewApproval(host, file, text), host); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "approved %s\n", escape(file))
	for _, p := range beyond {
		fmt.Fprintf(a.out, "  line %d: %s\n", p.Line, escape(p.Key))
	}
	if len(beyond) == 0 {
		fmt.Fprintf(a.out, "  it only takes away\n")
	}
	return nil
}

// projectFile gives the file that an argument names.
func projectFile(arg string) (string, error) {
	file, err := filepath.Abs(arg) // of nothing: the working directory
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		return policy.ProjectAt(file), nil
	}
	if filepath.Base(file) != policy.ProjectFile {
		return "", &hinted{fmt.Errorf("%s: only a file named %s is found in its folder", arg, policy.ProjectFile), "a profile by any other name needs no approval: it counts when you name it"}
	}
	return file, nil
}

// writeApproval puts a file into jail's state folder, whole or not at all.
func writeApproval(approval policy.Approval, host *policy.Host) error {
	root, err := openApprovals(host, true)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	name := filepath.Base(approval.File)
	temporary := name + ".new." + strconv.Itoa(os.Getpid())
	f, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("record approval: %w", err)
	}
	_, err = f.WriteString(approval.Text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(temporary, name)
	}
	if err != nil {
		_ = root.Remove(temporary)
		return fmt.Errorf("record approval: %w", err)
	}
	return nil
}

// openApprovals opens the folder of approvals, which must be the user's own and closed to others.
func openApprovals(host *policy.Host, create bool) (*os.Root, error) {
	state, err := filepath.EvalSymlinks(host.StateHome)
	if errors.Is(err, fs.ErrNotExist) {
		state, err = host.StateHome, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the state folder: %w", err)
	}
	dir := state + strings.TrimPrefix(policy.ApprovalDir(host), host.StateHome)
	if create {
		if err := makeHostDirs([]policy.HostDir{{Path: dir, Mode: 0o700}}, host.StateHome); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder of approvals: %w", err)
	}
	return root, nil
}

func (a *app) revoke(file string, host *policy.Host) error {
	root, err := openApprovals(host, false)
	if err == nil {
		defer func() { _ = root.Close() }()
		err = root.Remove(filepath.Base(policy.NewApproval(host, file, nil).File))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return &hinted{fmt.Errorf("%s is not approved", file), "'jail approve --list' lists what is"}
	}
	if err != nil {
		return fmt.Errorf("take approval back: %w", err)
	}
	fmt.Fprintf(a.out, "no longer approved: %s\n", escape(file))
	return nil
}

// listApprovals prints the approved files, and whether the approval still holds.
func (a *app) listApprovals(host *policy.Host) error {
	root, err := openApprovals(host, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("list approvals: %w", err)
	}
	for _, e := range entries {
		record, err := root.ReadFile(e.Name())
		if err != nil {
			return fmt.Errorf("read approval: %w", err)
		}
		_, quoted, _ := strings.Cut(strings.TrimSuffix(string(record), "\n"), " ")
		file, err := strconv.Unquote(quoted)
		if err != nil {
			continue // not written by jail, and without effect
		}
		state := "approved"
		switch text, _, err := host.FS.ReadPlain(file, projectLimit); {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
			state = "gone"
		case err != nil || string(record) != policy.NewApproval(host, file, text).Text:
			state = "changed"
		}
		fmt.Fprintf(a.out, "%-8s  %s\n", state, escape(file))
	}
	return nil
}
