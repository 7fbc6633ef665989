package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"jail/policy"
)

type editCmd struct {
	Name string `arg:"" name:"name" complete:"profile" placeholder:"NAME" help:"A profile's name."`
}

// Help is the text below the command's first line.
func (editCmd) Help() string {
	return `A profile that comes with jail or the system is copied into your own folder, where it stands before the other; one that is there already is changed. The editor is $VISUAL, else $EDITOR, else vi.

The text is checked when the editor ends, and takes effect only without mistakes: with some you are asked whether to go on editing. A text that is not changed is not kept. Nothing that is there is overwritten unseen.`
}

func (editCmd) examples() []example {
	return []example{
		{"jail edit firefox", "A firefox profile of your own, to begin with like jail's."},
		{"EDITOR=nano jail edit shell", "With another editor."},
	}
}

// Run edits a profile.
func (c *editCmd) Run(a *app) error {
	if !isName(c.Name) || strings.HasSuffix(c.Name, ".yaml") {
		return &hinted{fmt.Errorf("%q is no name of a profile", c.Name), "jail profiles lists them; a file is changed with an editor and looked at with jail check FILE"}
	}
	host, err := a.host()
	if err != nil {
		return err
	}
	before, own, err := profileText(c.Name, host)
	if err != nil {
		return err
	}
	dir := policy.SearchPath(host)[0]
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder for your profiles: %w", err)
	}
	// In the same folder, so that a relative file in it means the same and moving it to its place is one step.
	file, err := os.CreateTemp(dir, "."+c.Name+".edit-*.yaml")
	if err != nil {
		return fmt.Errorf("make a copy to edit: %w", err)
	}
	draft := file.Name()
	defer os.Remove(draft)
	_, err = file.Write(before)
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write a copy to edit: %w", err)
	}
	after, err := a.editUntilRight(draft, host)
	if err != nil {
		return err
	}
	place := filepath.Join(dir, c.Name+".yaml")
	if bytes.Equal(before, after) {
		a.err.line(bold, "jail:", "nothing was changed, and nothing is kept", "")
		return nil
	}
	if err := keepDraft(draft, place, before, own); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s\n", escape(place))
	return nil
}

// profileText is the text to begin with, and whether it is the user's own.
func profileText(name string, host *policy.Host) (text []byte, own bool, err error) {
	for i, dir := range policy.SearchPath(host) {
		text, err := os.ReadFile(filepath.Join(dir, name+".yaml"))
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return text, i == 0, err
		}
	}
	for _, p := range policy.Profiles(host) {
		if file, shipped := strings.CutPrefix(p.File, "shipped:"); shipped && p.Name == name {
			text, err := fs.ReadFile(host.Shipped, file)
			return text, false, err
		}
	}
	_, err = policy.Load(name, host) // it words this with a suggestion
	if err == nil {
		err = fmt.Errorf("no profile is called %q", name)
	}
	return nil, false, err
}

// editUntilRight runs the editor until the text is a profile, or the user gives up.
func (a *app) editUntilRight(draft string, host *policy.Host) ([]byte, error) {
	answers := bufio.NewReader(os.Stdin)
	for {
		if err := runEditor(draft); err != nil {
			return nil, err
		}
		_, err := throughEveryStage(draft, host)
		if err == nil {
			return os.ReadFile(draft)
		}
		for _, p := range policy.AsProblems(err) {
			a.problem(p)
		}
		gaveUp := &hinted{errors.New("the profile has mistakes and is not kept"), "edit it again and mend them"}
		if !isTerminal(os.Stdin) {
			return nil, gaveUp
		}
		fmt.Fprint(a.err.out, "Edit again? [Y/n] ")
		answer, err := answers.ReadString('\n')
		if err != nil || strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "n") {
			return nil, gaveUp
		}
	}
}

// runEditor runs the user's editor on a file. The variables may hold flags, as every program that reads them allows,
// so a shell splits them; the file's name is an argument of its own.
func runEditor(file string) error {
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	cmd := exec.Command("/bin/sh", "-c", editor+` "$@"`, editor, file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return &hinted{fmt.Errorf("the editor %s: %w", editor, err), "set VISUAL or EDITOR to another one"}
	}
	return nil
}

// keepDraft puts the edited text in its place. A new one must meet nothing there, a changed one what it was made from.
func keepDraft(draft, place string, before []byte, own bool) error {
	if !own {
		if err := os.Link(draft, place); err != nil {
			return fmt.Errorf("keep the profile: %w", err)
		}
		return nil
	}
	if now, err := os.ReadFile(place); err != nil || !bytes.Equal(now, before) {
		saved := place + ".edited"
		if err := os.Link(draft, saved); err != nil {
			return fmt.Errorf("%s was changed by somebody else meanwhile, and keeping yours beside it failed: %w", place, err)
		}
		return &hinted{fmt.Errorf("%s was changed by somebody else meanwhile and is left alone", place), "yours is " + saved}
	}
	info, err := os.Lstat(place)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if place, err = filepath.EvalSymlinks(place); err == nil {
			text, _ := os.ReadFile(draft)
			err = os.WriteFile(place, text, 0o600) // where a link leads, as dotfile managers make them
		}
		return err
	}
	return os.Rename(draft, place)
}
