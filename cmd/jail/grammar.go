package main

import (
	"reflect"
	"slices"

	"jail/policy"
)

// grammar is the whole command line. Help, error messages, and everything else that is made from it
// are read from these tags; running a program reads the flags' names from the same tags without the
// flag library, see splitWords.
type grammar struct {
	globalFlags `embed:""`

	Run      runCmd      `cmd:"" help:"Run a program in a sandbox. 'run' itself may be left out."`
	Check    checkCmd    `cmd:"" help:"Look for mistakes in profiles, and report all of them in one go."`
	Show     showCmd     `cmd:"" help:"Print a profile with everything it inherits, and where each value came from."`
	Explain  explainCmd  `cmd:"" help:"Say in plain words what a profile lets a program do."`
	Compile  compileCmd  `cmd:"" help:"Print the OCI runtime config for a program, or write a bundle."`
	Plan     planCmd     `cmd:"" help:"Print the numbered steps by which a sandbox would be set up."`
	Approve  approveCmd  `cmd:"" help:"Accept the .jail.yaml of a folder, so that it may also grant."`
	Ps       psCmd       `cmd:"" help:"List the running sandboxes."`
	Exec     execCmd     `cmd:"" help:"Run one more program in a running sandbox, as confined as the first."`
	Shell    shellCmd    `cmd:"" help:"Open a shell in a running sandbox."`
	Stop     stopCmd     `cmd:"" help:"End running sandboxes: ask the programs first, then end what is left."`
	Logs     logsCmd     `cmd:"" help:"Print what a sandbox in the background has said."`
	Wait     waitCmd     `cmd:"" help:"Wait until a sandbox in the background has ended, and end with its exit code."`
	Net      netCmd      `cmd:"" help:"See what the network of a running sandbox carries and refuses."`
	Stats    statsCmd    `cmd:"" help:"Show what running sandboxes use, beside their limits."`
	Doctor   doctorCmd   `cmd:"" help:"Say what this machine offers to sandboxes, and what to type where something is missing."`
	Audit    auditCmd    `cmd:"" help:"Try to break out of a sandbox, beside a run without one, and say what held."`
	Profiles profilesCmd `cmd:"" help:"List the profiles there are, or the folders they are looked for in."`
	Edit     editCmd     `cmd:"" help:"Change a profile: a copy of your own, checked when it is saved."`
	Diff     diffCmd     `cmd:"" help:"Compare what two profiles come to, key by key."`
	Schema   schemaCmd   `cmd:"" help:"Print the JSON Schema of profiles, for editors."`
	Version  versionCmd  `cmd:"" help:"Print jail's version and what it was built with."`

	Alias      aliasCmd      `cmd:"" help:"Print shell aliases that start programs in their sandboxes."`
	Install    installCmd    `cmd:"" help:"Make programs start in their sandboxes from the menu and the PATH."`
	Uninstall  uninstallCmd  `cmd:"" help:"Undo what 'jail install' did."`
	Installed  installedCmd  `cmd:"" help:"List what 'jail install' made."`
	Completion completionCmd `cmd:"" help:"Print the script by which a shell completes jail's lines."`
	Complete   completeCmd   `cmd:"" hidden:"" help:"Answer a shell that completes a line."`
	Keep       keepCmd       `cmd:"" hidden:"" help:"Keep the log of a sandbox in the background."`
	Manual     manualCmd     `cmd:"" hidden:"" help:"Print the source of the manual page jail(1), in Markdown."`
}

// globalFlags are understood by every command.
type globalFlags struct {
	Verbose bool `name:"verbose" short:"v" help:"Say on standard error what is done and how long it takes."`
}

// sandboxFlags choose a profile and change it for one run.
type sandboxFlags struct {
	Profile     string   `name:"profile" complete:"profile" short:"p" placeholder:"P" help:"Profile: a file (with .yaml), or a name on the search path. Without it the profile named like the program is taken, and if there is none the one named default."`
	Bind        []string `name:"bind" complete:"file" sep:"none" placeholder:"SRC[:DEST]" help:"Let the program read and write SRC, seen as DEST. A colon in a path is written \\:."`
	Ro          []string `name:"ro" complete:"file" sep:"none" placeholder:"SRC[:DEST]" help:"Let the program read SRC, seen as DEST."`
	Tmpfs       []string `name:"tmpfs" complete:"file" sep:"none" placeholder:"DEST" help:"Put an empty file system in memory at DEST."`
	Hide        []string `name:"hide" complete:"file" sep:"none" placeholder:"PATH" help:"Hide PATH, which may be a pattern such as ~/work/**/.env."`
	Env         []string `name:"env" sep:"none" placeholder:"NAME[=VALUE]" help:"Set a variable, or hand on the caller's."`
	Set         []string `name:"set" complete:"key" sep:"none" placeholder:"KEY=VALUE" help:"Set any key of the profile; VALUE is read as YAML."`
	Cwd         string   `name:"cwd" complete:"file" placeholder:"DIR" help:"Start the program in DIR, as seen inside."`
	projectFlag `embed:""`
	Name        string `name:"name" placeholder:"NAME" help:"Name of the sandbox. [A-Za-z0-9_.-], at most 64."`
}

// projectFlag is understood by every command that reads a profile.
type projectFlag struct {
	NoProject bool `name:"no-project" help:"Leave the working directory's .jail.yaml out."`
}

// host looks at the machine, the project file of the working directory included.
func (p projectFlag) host(a *app) (*policy.Host, error) {
	host, err := a.host()
	if err == nil && !p.NoProject {
		host.Project = policy.ProjectAt(host.Cwd)
	}
	return host, err
}

// overrideFlags are those of sandboxFlags that change the profile, in the order they were given.
var overrideFlags = []string{"bind", "ro", "tmpfs", "hide", "env", "set", "cwd"}

// program is the word that help texts show; the words themselves never reach the flag library.
type program struct {
	Program []string `arg:"" optional:"" passthrough:"partial" placeholder:"PROGRAM [ARGS...]" name:"program" help:"The program and its arguments; everything behind PROGRAM, or behind --, is the program's own."`
}

// launcher is a command that takes a program: its words are split off by splitWords.
type launcher interface {
	// launch carries the command out; flags are in the order given.
	launch(a *app, flags []flag, program []string) error
}

// launchers make the commands that take a program.
var launchers = map[string]func() launcher{
	"run":     func() launcher { return new(runCmd) },
	"compile": func() launcher { return new(compileCmd) },
	"plan":    func() launcher { return new(planCmd) },
	"exec":    func() launcher { return new(execCmd) },
	"keep":    func() launcher { return new(keepCmd) },
}

func startsProgram(command string) bool { return launchers[command] != nil }

// isCommand tells whether a word is one of jail's commands.
func isCommand(word string) bool {
	t := reflect.TypeFor[grammar]()
	for i := range t.NumField() {
		if _, ok := t.Field(i).Tag.Lookup("cmd"); ok && commandName(t.Field(i)) == word {
			return true
		}
	}
	return false
}

// commandName is the field's name in lower case, as the flag library has it.
func commandName(f reflect.StructField) string {
	name := []byte(f.Name)
	name[0] |= 0x20
	return string(name)
}

// launchOptions are the flags of every command that takes a program. They are known together so
// that a flag may also stand before the command.
func launchOptions() []option {
	options := append(optionsOf(reflect.TypeFor[globalFlags]()), option{name: "help", short: "h", bool: true})
	for _, t := range []reflect.Type{reflect.TypeFor[runCmd](), reflect.TypeFor[compileCmd](), reflect.TypeFor[planCmd](), reflect.TypeFor[execCmd]()} {
		for _, o := range optionsOf(t) {
			if !slices.ContainsFunc(options, func(known option) bool { return known.name == o.name }) {
				options = append(options, o)
			}
		}
	}
	return options
}
