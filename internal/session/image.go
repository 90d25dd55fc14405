package session

import (
	"fmt"
	"regexp"
	"strings"
)

// ImagePattern matches references of images.
type ImagePattern struct {
	every       bool
	repository  string // with its registry
	tag, digest string
	anyTag      bool
}

// imageName is a reference in its parts: repository, tag, digest.
var imageName = regexp.MustCompile(`^([a-zA-Z0-9][a-zA-Z0-9._:/-]*?)(?::([a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}))?(?:@([a-z0-9]+:[a-fA-F0-9]{32,}))?$`)

// ParseImagePatterns reads patterns that are separated by commas: a reference with its tag or digest matches itself,
// "repository:*" every tag and digest of that repository, and "*" everything.
func ParseImagePatterns(text string) ([]ImagePattern, error) {
	var all []ImagePattern
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		if entry == "*" {
			all = append(all, ImagePattern{every: true})
			continue
		}
		name, anyTag := strings.CutSuffix(entry, ":*")
		p, ok := parseImage(name)
		if !ok || anyTag && (p.tag != "" || p.digest != "") {
			return nil, fmt.Errorf("%q is not an image like registry.example/team/image:tag, image@sha256:… or image:*", entry)
		}
		if p.anyTag = anyTag; !anyTag && p.tag == "" && p.digest == "" {
			return nil, fmt.Errorf("%q has neither tag nor digest; write %s:* for all of them", entry, entry)
		}
		all = append(all, p)
	}
	return all, nil
}

// Matches reports whether the pattern matches a reference. One without tag and digest has the tag "latest", as for engines.
func (p ImagePattern) Matches(reference string) bool {
	if p.every {
		return true
	}
	image, ok := parseImage(reference)
	switch {
	case !ok || image.repository != p.repository:
		return false
	case p.anyTag:
		return true
	case p.digest != "": // engines ignore the tag beside it
		return image.digest == p.digest
	case image.tag == "":
		image.tag = "latest"
	}
	return image.digest == "" && image.tag == p.tag
}

// SameImage reports whether two references are the same for an engine.
func SameImage(a, b string) bool {
	if a == b {
		return true
	}
	p, ok := parseImage(a)
	if !ok {
		return false
	}
	if p.tag == "" {
		p.tag = "latest"
	}
	return p.Matches(b)
}

func parseImage(reference string) (ImagePattern, bool) {
	parts := imageName.FindStringSubmatch(reference)
	if parts == nil || strings.HasSuffix(parts[1], ":") || strings.HasSuffix(parts[1], "/") {
		return ImagePattern{}, false
	}
	registry, path, ok := strings.Cut(parts[1], "/")
	if !ok || !strings.ContainsAny(registry, ".:") && registry != "localhost" {
		registry, path = "docker.io", parts[1]
	}
	if registry == "index.docker.io" {
		registry = "docker.io"
	}
	if strings.Contains(path, ":") {
		return ImagePattern{}, false
	}
	if registry == "docker.io" && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	return ImagePattern{repository: registry + "/" + path, tag: parts[2], digest: strings.ToLower(parts[3])}, true
}
