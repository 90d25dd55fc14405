package egress

import "berth/internal/session"

// listForges is the built-in list of hosts of public git repositories; whoever has an account can write there.
const listForges = "forges"

// presets are the built-in lists. Hosts where anybody can store anything (storage.googleapis.com, to which the Go proxy redirects
// some large downloads) are on none of them.
var presets = map[string][]string{
	session.EgressPackages: {
		// npm and Yarn
		"registry.npmjs.org:443", "registry.yarnpkg.com:443",
		// PyPI
		"pypi.org:443", "files.pythonhosted.org:443",
		// Go
		"proxy.golang.org:443", "sum.golang.org:443",
		// Rust
		"index.crates.io:443", "static.crates.io:443", "crates.io:443",
		// Debian, whose packages are signed and usually fetched by plain HTTP
		"deb.debian.org", "security.debian.org",
		// Maven
		"repo.maven.apache.org:443", "repo1.maven.org:443",
		// Packagist; most of its packages are then fetched from a forge
		"repo.packagist.org:443", "packagist.org:443",
		// RubyGems
		"rubygems.org:443", "index.rubygems.org:443",
	},
	listForges: {
		// GitHub: clones, API, archives, raw files, releases, large files
		"github.com:443", "api.github.com:443", "codeload.github.com:443", "gist.github.com:443", "uploads.github.com:443",
		"raw.githubusercontent.com:443", "objects.githubusercontent.com:443", "release-assets.githubusercontent.com:443",
		"media.githubusercontent.com:443", "gist.githubusercontent.com:443", "github-cloud.githubusercontent.com:443",
		// GitLab; its release files may be on its static host
		"gitlab.com:443", "cdn.artifacts.gitlab-static.net:443",
		// Bitbucket
		"bitbucket.org:443", "api.bitbucket.org:443", "bbuseruploads.s3.amazonaws.com:443", "api.media.atlassian.com:443",
		// Codeberg
		"codeberg.org:443",
	},
}
