package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"jail/cmd/jail/install"
	"jail/policy"
)

type installCmd struct {
	Profile string   `name:"profile" complete:"profile" short:"p" placeholder:"P" help:"Always run with this profile: a file, or a name on the search path. Without it the profile for programs of that name is taken."`
	Names   []string `arg:"" name:"name" complete:"program" placeholder:"NAME..." help:"The programs, by the names they are called by."`
}

// Help is the text below the command's first line.
func (installCmd) Help() string {
	return `A wrapper of the program's name goes into ~/.local/bin, and a copy of each of its desktop entries, changed to start it through jail, into the folder that menus prefer to the system's. Icons, names and file types stay as they are. An entry that the session bus would start is started by its command line instead, for the bus would start it past jail.

Nothing that jail did not make is overwritten; 'jail uninstall' removes exactly what was made. Run it again after the program's package has changed its entries.`
}

func (installCmd) examples() []example {
	return []example{
		{"jail install firefox mpv", "From the menu, the shell and scripts: these two start in their sandbox."},
		{"jail install -p ~/notes.yaml gedit", "With a profile of your own."},
	}
}

// Run installs programs, one after the other: what was made for those before a failure stays, and is told.
func (c *installCmd) Run(a *app) error {
	host, err := a.host()
	if err != nil {
		return err
	}
	places := placesOf(host)
	ref := c.Profile
	if ref != "" {
		profile, err := policy.Load(ref, host)
		if err != nil {
			return err
		}
		ref = lastingRef(ref, profile)
	}
	for _, name := range c.Names {
		if !isName(name) {
			return &hinted{fmt.Errorf("%q is not the name of a program", name), "its name alone, without a folder"}
		}
		if ref == "" {
			if err := ownProfile(name, host); err != nil {
				return err
			}
		}
		own, aliases := namesakes(name, host)
		r, err := places.Install(name, cmp.Or(ref, own), aliases)
		if err != nil {
			return fmt.Errorf("install %s: %w", name, err)
		}
		for _, f := range r.Files {
			fmt.Fprintf(a.out, "made %s\n", escape(f.Path))
		}
	}
	a.adviseOnPath(places)
	return nil
}

// namesakes gives the profile for a program, and the programs that it is for.
func namesakes(name string, host *policy.Host) (profile string, programs []string) {
	profile, _ = policy.ForProgram(host, name)
	for _, p := range policy.Profiles(host) {
		if p.Name == profile {
			programs = p.Programs
		}
	}
	return profile, programs
}

// lastingRef gives a reference to a profile that means the same in every working directory.
func lastingRef(ref string, profile *policy.Profile) string {
	if !strings.ContainsRune(ref, '/') && !strings.HasSuffix(ref, ".yaml") {
		return ref
	}
	// Its own file is the last layer; a shipped one has no path, and its name means the same everywhere.
	if path := profile.Layers[len(profile.Layers)-1].Path; path != "" {
		return path
	}
	return strings.TrimSuffix(ref, ".yaml")
}

// adviseOnPath tells of a PATH that leads past the wrappers.
func (a *app) adviseOnPath(places install.Places) {
	at := slices.IndexFunc(places.Path, func(dir string) bool { return dir != "" && filepath.Clean(dir) == places.Bin })
	if at == 0 || at > 0 && !slices.ContainsFunc(places.Path[:at], func(dir string) bool { return dir == "/usr/bin" || dir == "/usr/local/bin" || dir == "/bin" }) {
		return
	}
	a.err.line(yellow, "jail: warning:", places.Bin+" does not stand before the system's folders in PATH: a shell starts the program itself",
		`put export PATH="`+places.Bin+`:$PATH" into your shell's start-up file`)
}

// placesOf are the folders of the caller.
func placesOf(host *policy.Host) install.Places {
	var dirs []string
	for _, dir := range filepath.SplitList(cmp.Or(host.Env["XDG_DATA_DIRS"], "/usr/local/share:/usr/share")) {
		if filepath.IsAbs(dir) {
			dirs = append(dirs, filepath.Clean(dir))
		}
	}
	return install.Places{
		Bin:      host.Home + "/.local/bin",
		DataHome: host.DataHome,
		DataDirs: dirs,
		Records:  host.StateHome + "/jail/installed",
		Path:     filepath.SplitList(host.Env["PATH"]),
		Jail:     cmp.Or(host.Executable, "jail"),
	}
}
