package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"jail/policy"
)

type aliasCmd struct {
	All   bool     `name:"all" help:"All programs that are installed and have a profile of their own."`
	Shell string   `name:"shell" complete:"shell" placeholder:"SHELL" help:"bash, zsh or fish. Without it, the shell that $SHELL names."`
	Names []string `arg:"" optional:"" name:"name" complete:"program" placeholder:"[NAME...]" help:"The programs. Each must have a profile of its own."`
}

// Help is the text below the command's first line.
func (aliasCmd) Help() string {
	return `The lines are meant for eval in your shell's start-up file. An alias holds where you type; scripts and menus start the program itself. 'jail install' covers those too.

A name that the shell itself uses, such as 'test', is refused.`
}

func (aliasCmd) examples() []example {
	return []example{
		{`eval "$(jail alias firefox mpv)"`, "In ~/.bashrc or ~/.zshrc: these two always start in their sandbox."},
		{`eval "$(jail alias --all)"`, "The same for every program with a profile."},
		{"jail alias --shell fish firefox | source", "In ~/.config/fish/config.fish."},
	}
}

// Run prints the aliases.
func (c *aliasCmd) Run(a *app) error {
	shell, err := shellOf(c.Shell)
	if err != nil {
		return err
	}
	host, err := a.host()
	if err != nil {
		return err
	}
	names := c.Names
	switch {
	case c.All && len(names) > 0:
		return errors.New("--all and names: give one of them")
	case c.All:
		names = a.profiledPrograms(host, shell)
	case len(names) == 0:
		return &hinted{errors.New("no program given"), "jail alias NAME..., or jail alias --all"}
	}
	for _, name := range names {
		if slices.Contains(shellWords[shell], name) {
			return &hinted{fmt.Errorf("%s is a command of %s's own: an alias would take its place in every line you type", name, shell), "write jail run " + name + " where you mean the program"}
		}
		if err := ownProfile(name, host); err != nil {
			return err
		}
	}
	jail := ownCommand(host)
	for _, name := range names {
		// Names are of harmless characters alone, ownProfile has seen to it.
		line := "alias " + name + "='" + strings.ReplaceAll(jail, "'", `'\''`) + " run " + name + "'"
		if shell == "fish" {
			line = "alias " + name + " '" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(jail) + " run " + name + "'"
		}
		fmt.Fprintln(a.out, line)
	}
	return nil
}

// shellOf reads --shell, or takes the login shell.
func shellOf(name string) (string, error) {
	given := name != ""
	if !given {
		name = filepath.Base(os.Getenv("SHELL"))
	}
	if _, known := shellWords[name]; known {
		return name, nil
	}
	if !given {
		return "", &hinted{fmt.Errorf("$SHELL names none of the shells that jail writes for (it ends in %q)", name), "--shell bash, zsh or fish"}
	}
	return "", &hinted{fmt.Errorf("--shell: %q is no shell that jail writes for", name), "bash, zsh or fish"}
}

// ownProfile refuses a program for which jail would take the profile `default`.
func ownProfile(name string, host *policy.Host) error {
	if !isName(name) || strings.HasSuffix(name, ".yaml") {
		return &hinted{fmt.Errorf("%q is not the name of a program", name), "its name alone, without a folder"}
	}
	if _, ok := policy.ForProgram(host, name); ok {
		return nil
	}
	_, err := policy.Load(name, host) // says what is similar
	return err
}

// profiledPrograms lists what --all means. What the shell has a command of its own for is passed over, with a word.
func (a *app) profiledPrograms(host *policy.Host, shell string) []string {
	var names []string
	for _, p := range policy.Profiles(host) {
		for _, name := range p.Programs {
			if _, err := exec.LookPath(name); err != nil || !isName(name) || slices.Contains(names, name) {
				continue
			}
			if slices.Contains(shellWords[shell], name) {
				a.err.note("%s is left out: it is a command of %s's own", name, shell)
				continue
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// ownCommand is how a line calls this jail: by name where the PATH leads to it, else by its path.
func ownCommand(host *policy.Host) string {
	path, err := exec.LookPath("jail")
	if err != nil || host.Executable == "" {
		return "jail"
	}
	found, err1 := os.Stat(path)
	own, err2 := os.Stat(host.Executable)
	if err1 == nil && err2 == nil && os.SameFile(found, own) {
		return "jail"
	}
	return host.Executable
}

// shellWords are the names that each shell uses itself: reserved words and built-in commands (bash(1), zshmisc(1) and
// zshbuiltins(1), fish's `builtin --names`). Those for which shells only have a faster twin of a program, such as echo,
// stand here too: an alias would change what they do in every line.
var shellWords = map[string][]string{
	"bash": strings.Fields(commonWords + ` bind builtin caller compgen complete compopt declare dirs disown enable function
		help history let logout mapfile popd pushd readarray select shopt source suspend typeset`),
	"zsh": strings.Fields(commonWords + ` autoload bindkey builtin bye chdir compadd comparguments compcall compctl compdescribe compfiles
		compgroups compquote compset comptags comptry compvalues coproc declare dirs disable disown echotc echoti emulate enable end
		float foreach functions getln history integer let limit log logout nocorrect noglob popd print private pushd pushln r
		rehash repeat sched select setopt source suspend ttyctl typeset unfunction unhash unlimit unsetopt vared whence where
		which zcompile zformat zftp zle zmodload zparseopts zprof zpty zregexparse zsocket zstyle ztcp`),
	"fish": strings.Fields(`_ abbr and argparse begin bg bind block break breakpoint builtin case cd command commandline complete
		contains continue count disown echo else emit end eval exec exit false fg for function functions history if jobs
		math not or path printf pwd random read realpath return set set_color source status string switch test time true
		type ulimit wait while`),
}

const commonWords = `alias bg break case cd command continue coproc do done echo elif else esac eval exec exit export
	false fc fg fi for function getopts hash if in jobs kill local printf pwd read readonly return set shift test then
	time times trap true type ulimit umask unalias unset until wait while`
