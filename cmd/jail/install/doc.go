// Package install makes programs start through jail wherever a user starts them: by a wrapper in a folder on the PATH
// and by desktop entries of the user's own, which menus prefer to the system's entries of the same name.
//
// What was made is written down in a record, with a digest of every file, so that Uninstall undoes exactly that: a file
// that somebody changed since is not removed, a folder only when Install made it and nothing else is in it. A file that
// Install did not make is never overwritten.
//
// The formats are those of the Desktop Entry Specification 1.5 and the XDG Base Directory Specification.
package install
