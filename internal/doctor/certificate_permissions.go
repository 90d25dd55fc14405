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
)

// Modes of the files in a certificate directory.
const (
	keyMode         fs.FileMode = 0o400
	certificateMode fs.FileMode = 0o444
	directoryMode   fs.FileMode = 0o700
)

// protected is a file or directory with its required mode.
type protected struct {
	path string
	want fs.FileMode
	key  bool
	dir  bool
	own  bool // a copy that a supervisor made for this process only
}

// certificatePermissions checks the modes of certificates, keys and their directory.
func certificatePermissions(_ context.Context, o *Options) []Finding {
	all, err := o.protected()
	if err != nil {
		return []Finding{fail("directory-unreadable", "make certificates (berth certs init), or set DOCKER_CERT_PATH to where they are",
			"%v", err).at(o.Config.Docker.CertPath, 0)}
	}
	var findings []Finding
	for _, p := range all {
		info, err := os.Stat(p.path)
		if err != nil {
			findings = append(findings, fail("file-unreadable", "put the file there, or correct its name in the settings", "%v", err).at(p.path, 0))
			continue
		}
		if f, bad := p.judge(info.Mode().Perm()); bad {
			findings = append(findings, f.at(p.path, 0))
		}
	}
	return orPass(findings, pass("protected", "%d files and directories have the right modes", len(all)))
}

// protected returns the directory, all certificate and key files in it, and the client's files, which may be elsewhere.
func (o *Options) protected() ([]protected, error) {
	d := o.Config.Docker
	entries, err := os.ReadDir(d.CertPath)
	if err != nil {
		return nil, err
	}
	all := []protected{{path: d.CertPath, want: directoryMode, dir: true}}
	files := []string{filepath.Clean(d.CACert), filepath.Clean(d.ClientCert)}
	for _, e := range entries {
		path := filepath.Join(d.CertPath, e.Name())
		if !e.IsDir() && (strings.HasSuffix(e.Name(), ".pem") || isKey(path)) && path != filepath.Clean(d.ClientKey) {
			files = append(files, path)
		}
	}
	slices.Sort(files)
	for _, path := range slices.Compact(files) {
		p := protected{path: path, want: certificateMode}
		if isKey(path) {
			p.want, p.key = keyMode, true
		}
		all = append(all, p)
	}
	all = append(all, protected{path: filepath.Clean(d.ClientKey), want: keyMode, key: true})
	for i := range all {
		all[i].own = o.isCredential(all[i].path)
	}
	return all, nil
}

// isCredential reports whether a path is in the directory of a supervisor's credentials. It makes all of them 0400, or lets this
// process read them by an access list, which appears as a permission of the group.
func (o *Options) isCredential(path string) bool {
	if !filepath.IsAbs(o.Credentials) {
		return false
	}
	rel, err := filepath.Rel(o.Credentials, path)
	return err == nil && filepath.IsLocal(rel)
}

func (p protected) judge(mode fs.FileMode) (Finding, bool) {
	remedy := fmt.Sprintf("chmod %04o %s (berth doctor --fix does it)", p.want, p.path)
	switch {
	case mode == p.want, p.own && !p.dir && mode&^0o440 == 0, p.own && p.dir && mode&0o027 == 0:
		return Finding{}, false
	case p.dir && mode&0o022 != 0:
		return fail("directory-writable", remedy, "%s has mode %04o: others can put their own certificates there", p.path, mode), true
	case p.dir && mode&0o077 != 0:
		return warn("directory-open", remedy, "%s has mode %04o: others than its owner can look into it", p.path, mode), true
	case p.key && mode&0o077 != 0:
		return fail("key-open", remedy+"; if others may have read the key, replace the pair", "%s has mode %04o: others than its owner can use the key",
			p.path, mode), true
	case mode&0o022 != 0:
		return fail("certificate-writable", remedy, "%s has mode %04o: others can replace its content", p.path, mode), true
	case p.dir:
		return Finding{}, false
	}
	return warn("mode-differs", remedy, "%s has mode %04o and not %04o", p.path, mode, p.want), true
}

// fixPermissions sets the required modes. It follows no symbolic link, changes no file with several hard links, and adds no
// permission to a file that it cannot open.
func fixPermissions(_ context.Context, o *Options) ([]string, error) {
	all, err := o.protected()
	if err != nil {
		return nil, err
	}
	var done []string
	var faults []error
	for _, p := range all {
		changed, err := p.fix()
		if err != nil {
			faults = append(faults, fmt.Errorf("correct the mode of %s: %w", p.path, err))
		}
		if changed != "" {
			done = append(done, changed)
		}
	}
	return done, errors.Join(faults...)
}

func (p protected) fix() (string, error) {
	fd, err := unix.Open(p.path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, unix.ELOOP) {
			return "", errors.New("it is a symbolic link: correct what it points to by hand")
		}
		return "", err
	}
	f := os.NewFile(uintptr(fd), p.path)
	defer f.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return "", err
	}
	mode := fs.FileMode(stat.Mode).Perm()
	if _, bad := p.judge(mode); !bad {
		return "", nil
	}
	kind := stat.Mode & unix.S_IFMT
	if p.dir != (kind == unix.S_IFDIR) || !p.dir && (kind != unix.S_IFREG || stat.Nlink != 1) {
		return "", errors.New("it is not an ordinary file with one name, or not a directory: correct it by hand")
	}
	if err := f.Chmod(p.want); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: mode %04o instead of %04o", p.path, p.want, mode), nil
}
