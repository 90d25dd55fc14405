package session

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Variables with which the entry point of an image knows what to clone into an empty workspace.
const (
	RepositoryVariable = "BERTH_REPOSITORY" // URL
	RefVariable        = "BERTH_REF"        // branch or tag; empty: the default branch
)

// Repository is where a git repository is.
type Repository struct {
	Host string // in lower case, with the port if one is named: "git.example", "git.example:8443"
	Path string // without a slash before it: "team/app.git"
}

var (
	repositoryHost = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[0-9]{1,5})?$`)
	repositoryPath = regexp.MustCompile(`^[A-Za-z0-9_~][A-Za-z0-9._~+-]*(/[A-Za-z0-9_~.][A-Za-z0-9._~+-]*)*/?$`)
	refName        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/+-]{0,254}$`)
)

// ParseRepository reads the URL of a repository as git takes it: https://host/path, ssh://git@host/path or git@host:path. Whatever else
// git would take, such as files and helpers, is an error, and so is a user name or password.
func ParseRepository(text string) (Repository, error) {
	if rest, ok := strings.CutPrefix(text, "git@"); ok {
		host, path, found := strings.Cut(rest, ":")
		if !found || strings.Contains(host, "/") {
			return Repository{}, errForm
		}
		return repositoryOf(host, strings.TrimPrefix(path, "/"))
	}
	u, err := url.Parse(text)
	if err != nil {
		return Repository{}, errForm // without the text, which may have a password
	}
	_, secret := u.User.Password()
	switch {
	case u.Scheme != "https" && u.Scheme != "ssh", u.Opaque != "", u.RawQuery != "", u.ForceQuery, u.Fragment != "", u.RawPath != "", u.RawFragment != "":
		return Repository{}, errForm
	case u.User != nil && (u.Scheme != "ssh" || secret || u.User.Username() != "git"):
		return Repository{}, errors.New("a repository's URL has no user name and no password: they would stay readable in the session")
	}
	return repositoryOf(u.Host, strings.TrimPrefix(u.Path, "/"))
}

var errForm = errors.New("a repository is written as https://host/path, ssh://git@host/path or git@host:path")

func repositoryOf(host, path string) (Repository, error) {
	host = strings.ToLower(host)
	if !repositoryHost.MatchString(host) {
		return Repository{}, errForm
	}
	if !repositoryPath.MatchString(path) || strings.Contains(path, "..") || strings.Contains(path, "/./") || strings.HasSuffix(path, "/.") {
		return Repository{}, fmt.Errorf("the path of a repository is letters, digits and . _ ~ + - between single slashes")
	}
	return Repository{Host: host, Path: strings.TrimSuffix(path, "/")}, nil
}

// CheckRef returns an error for a text that cannot be a branch, tag or commit, or that git could take for an option.
func CheckRef(ref string) error {
	if !refName.MatchString(ref) || strings.Contains(ref, "..") || strings.Contains(ref, "//") || strings.HasSuffix(ref, "/") ||
		strings.HasSuffix(ref, ".lock") || strings.HasSuffix(ref, ".") || strings.Contains(ref, "/.") {
		return errors.New("a ref is a branch, tag or commit: letters, digits and . _ / + -, not beginning with . - or /")
	}
	return nil
}
