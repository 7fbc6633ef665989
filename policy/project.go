package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strconv"
	"strings"
)

// ProjectFile is the name of the file by which a folder speaks of the programs
// that are run in it.
const ProjectFile = ".jail.yaml"

// ProjectAt gives the project file of a folder. Only the working directory itself
// is asked for one, never the folders above it: what holds can be seen where jail
// is started.
func ProjectAt(dir string) string { return join(dir, ProjectFile) }

const approveFix = "read the file and accept it with 'jail approve', or leave it out with --no-project"

// project reads the project file of the working directory, Host.Project. Who
// wrote it is not known: it may have come with a stranger's checkout, or have
// been put there by a program in an earlier run. One whose very text the user has
// approved is a file like any other, between the profile and the command line.
// Any other may only take away: from what profile and command line come to
// together, so it is given back for the end of the chain.
//
// No symbolic link is followed, so that nothing else of the user's is read, and
// shown in a message, under the file's name.
func (l *loader) project() *Layer {
	h := l.host
	if h.Project == "" || l.seen[h.Project] {
		return nil // named as the profile by the user
	}
	text, st, err := h.FS.ReadPlain(h.Project, maxFileSize)
	if err != nil {
		var lerr error
		if st, lerr = h.FS.Lstat(h.Project); lerr != nil {
			return nil
		}
	}
	approved := err == nil && Approved(h, text)
	switch {
	case !approved && int(st.UID) != h.UID && st.UID != 0:
		// Anybody can put one into a folder like /tmp, and must not so decide
		// whether other users' programs start.
		l.profile.notes = append(l.profile.notes, Problem{File: ProjectFile,
			Cause: "not used: it belongs to user id " + strconv.FormatUint(uint64(st.UID), 10), Fix: approveFix})
		return nil
	case err != nil:
		fix := "a project file is a plain file; mend it, or leave it out with --no-project"
		l.problems = append(l.problems, Problem{File: ProjectFile, Cause: reason(err), Fix: fix})
		return nil
	}
	s := &source{file: ProjectFile, path: h.Project, text: text, project: true}
	if approved {
		l.file(s, Origin{}, 0)
		return nil
	}
	doc, problems := decodeSource(s)
	if len(problems) == 0 {
		problems = onlyTightens(doc)
	}
	if len(problems) > 0 {
		l.problems = append(l.problems, problems...)
		return nil
	}
	l.profile.notes = append(l.profile.notes, Problem{File: ProjectFile,
		Cause: "takes away from what this run may do, and nobody has approved it: " + strings.Join(writtenKeys(doc), ", "), Fix: approveFix})
	return &Layer{File: s.file, Path: s.path, Doc: doc, project: true, tightens: true}
}

// besideProject gives the paths of a project file that start with ./ their
// folder, which is the working directory.
func besideProject(doc *Document) {
	beside := func(t *Text) {
		if t.V == "." || strings.HasPrefix(t.V, "./") {
			t.V = "${CWD}" + t.V[1:]
		}
	}
	fragments := []*Fragment{&doc.Fragment}
	for i := range doc.When.Items {
		fragments = append(fragments, &doc.When.Items[i].Then)
	}
	for _, f := range fragments {
		for i := range f.Filesystem.Items {
			beside(&f.Filesystem.Items[i].Path)
			beside(&f.Filesystem.Items[i].Source)
		}
	}
}

// Approval is the user's consent to one text of one project file: the file under
// jail's state folder that records it, which no sandbox can write or see, and
// what stands in it.
type Approval struct {
	File, Text string
}

// NewApproval gives the approval of a text for the project file at path, which
// is absolute. Symlinks on the way to its folder are resolved: a folder has one
// approval by whatever name it is reached.
func NewApproval(h *Host, file string, text []byte) Approval {
	dir := path.Dir(path.Clean(file))
	if f := newLookup(h).walk(dir); f.err == nil {
		dir = f.path
	}
	file = join(dir, path.Base(file))
	name, sum := sha256.Sum256([]byte(file)), sha256.Sum256(text)
	return Approval{
		File: ApprovalDir(h) + "/" + hex.EncodeToString(name[:]),
		Text: hex.EncodeToString(sum[:]) + " " + strconv.Quote(file) + "\n",
	}
}

// ApprovalDir is the folder that approvals are recorded in.
func ApprovalDir(h *Host) string { return h.StateHome + "/jail/approved" }

// Approved tells whether the user has approved this text of Host.Project.
func Approved(h *Host, text []byte) bool {
	a := NewApproval(h, h.Project, text)
	have, st, err := h.FS.ReadPlain(a.File, 64<<10)
	return err == nil && int(st.UID) == h.UID && st.Mode.Perm()&0o022 == 0 && string(have) == a.Text
}

// BeyondTightening gives what a project file asks for that needs the user's
// approval: nothing for one that only takes away. The error says why the file
// cannot be read as a profile.
func BeyondTightening(text []byte) (beyond []Problem, err error) {
	s := &source{file: ProjectFile, path: "/" + ProjectFile, text: text, project: true}
	doc, problems := decodeSource(s)
	if len(problems) > 0 {
		return nil, problems
	}
	return onlyTightens(doc), nil
}
