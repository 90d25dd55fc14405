package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/internal/config"
	"berth/internal/pki"
)

// Modes of what stands in a certificate directory.
const (
	keyMode         fs.FileMode = 0o400
	certificateMode fs.FileMode = 0o444
	directoryMode   fs.FileMode = 0o700
)

// certificatePermissions looks at the modes of certificates, keys and their directory, and can correct them.
type certificatePermissions struct{ Options }

func (certificatePermissions) Name() string { return "certificate-permissions" }

// thing is a file or directory with the mode that it should have.
type thing struct {
	path string
	want fs.FileMode
	key  bool
	dir  bool
	own  bool // a copy that a supervisor has made for this process alone
}

func (c certificatePermissions) Run(context.Context) []Finding {
	if c.Config.Session.Runtime == config.RuntimeProcess {
		return c.noTLS()
	}
	things, err := c.things()
	if err != nil {
		return []Finding{fail("directory-unreadable", "make certificates (berth certs init), or set DOCKER_CERT_PATH to where they are",
			"%v", err).at(c.Config.Docker.CertPath, 0)}
	}
	var findings []Finding
	for _, t := range things {
		info, err := os.Stat(t.path)
		if err != nil {
			findings = append(findings, fail("file-unreadable", "put the file there, or correct its name in the settings", "%v", err).at(t.path, 0))
			continue
		}
		if f, bad := t.judge(info.Mode().Perm()); bad {
			findings = append(findings, f.at(t.path, 0))
		}
	}
	return orPass(findings, pass("protected", "%d files and directories have the right modes", len(things)))
}

// things are the directory, all that looks like a certificate or key in it, and the client's files wherever they are.
func (c certificatePermissions) things() ([]thing, error) {
	d := c.Config.Docker
	entries, err := os.ReadDir(d.CertPath)
	if err != nil {
		return nil, err
	}
	things := []thing{{path: d.CertPath, want: directoryMode, dir: true}}
	paths := pki.ClientPaths(d.CertPath, pki.Paths{CA: d.CACert, Cert: d.ClientCert, Key: d.ClientKey})
	files := []string{filepath.Clean(paths.CA), filepath.Clean(paths.Cert)}
	for _, e := range entries {
		path := filepath.Join(d.CertPath, e.Name())
		if !e.IsDir() && (strings.HasSuffix(e.Name(), ".pem") || isKey(path)) && path != filepath.Clean(paths.Key) {
			files = append(files, path)
		}
	}
	slices.Sort(files)
	for _, path := range slices.Compact(files) {
		t := thing{path: path, want: certificateMode}
		if isKey(path) {
			t.want, t.key = keyMode, true
		}
		things = append(things, t)
	}
	things = append(things, thing{path: filepath.Clean(paths.Key), want: keyMode, key: true})
	for i := range things {
		things[i].own = c.isCredential(things[i].path)
	}
	return things, nil
}

// isCredential tells whether a path is in the directory of a supervisor's credentials. It makes all of them 0400, or lets this
// process read them by an access list, which shows as a right of the group.
func (c certificatePermissions) isCredential(path string) bool {
	if !filepath.IsAbs(c.Credentials) {
		return false
	}
	rel, err := filepath.Rel(c.Credentials, path)
	return err == nil && filepath.IsLocal(rel)
}

func (t thing) judge(mode fs.FileMode) (Finding, bool) {
	remedy := fmt.Sprintf("chmod %04o %s (berth doctor --fix does it)", t.want, t.path)
	switch {
	case mode == t.want, t.own && !t.dir && mode&^0o440 == 0, t.own && t.dir && mode&0o027 == 0:
		return Finding{}, false
	case t.dir && mode&0o022 != 0:
		return fail("directory-writable", remedy, "%s has mode %04o: others can put their own certificates there", t.path, mode), true
	case t.dir && mode&0o077 != 0:
		return warn("directory-open", remedy, "%s has mode %04o: others than its owner can look into it", t.path, mode), true
	case t.key && mode&0o077 != 0:
		return fail("key-open", remedy+"; if others may have read the key, replace the pair", "%s has mode %04o: others than its owner can use the key",
			t.path, mode), true
	case mode&0o022 != 0:
		return fail("certificate-writable", remedy, "%s has mode %04o: others can replace its content", t.path, mode), true
	case t.dir:
		return Finding{}, false
	}
	return warn("mode-differs", remedy, "%s has mode %04o and not %04o", t.path, mode, t.want), true
}

// Fix gives everything the mode that it should have. It follows no symbolic link, touches nothing that has several
// names, and adds no right to a file that it cannot open.
func (c certificatePermissions) Fix(context.Context) ([]string, error) {
	if c.Config.Session.Runtime == config.RuntimeProcess {
		return nil, nil
	}
	things, err := c.things()
	if err != nil {
		return nil, err
	}
	var done []string
	var faults []error
	for _, t := range things {
		changed, err := t.fix()
		if err != nil {
			faults = append(faults, fmt.Errorf("correct the mode of %s: %w", t.path, err))
		}
		if changed != "" {
			done = append(done, changed)
		}
	}
	return done, errors.Join(faults...)
}

func (t thing) fix() (string, error) {
	fd, err := unix.Open(t.path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.ELOOP) {
			return "", errors.New("it is a symbolic link: correct what it points to by hand")
		}
		return "", err
	}
	f := os.NewFile(uintptr(fd), t.path)
	defer f.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return "", err
	}
	mode := fs.FileMode(stat.Mode).Perm()
	if _, bad := t.judge(mode); !bad {
		return "", nil
	}
	kind := stat.Mode & unix.S_IFMT
	if t.dir != (kind == unix.S_IFDIR) || !t.dir && (kind != unix.S_IFREG || stat.Nlink != 1) {
		return "", errors.New("it is not an ordinary file with one name, or not a directory: correct it by hand")
	}
	if err := f.Chmod(t.want); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: mode %04o instead of %04o", t.path, t.want, mode), nil
}
