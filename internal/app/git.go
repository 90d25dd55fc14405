package app

import (
	"berth/internal/config"
	"berth/internal/gateway/git"
	"berth/internal/gateway/model"
)

// gitRules are the git hosts of the settings, with what reads their tokens.
func gitRules(hosts []config.GitHost) ([]git.Rule, error) {
	rules := make([]git.Rule, len(hosts))
	for i, g := range hosts {
		at, err := g.URL()
		if err != nil {
			return nil, err
		}
		rules[i] = git.Rule{Host: g.Host, BaseURL: at, Paths: g.Paths, Owners: g.Owners, Push: g.Push, Username: g.Username}
		switch {
		case g.TokenFile != "":
			rules[i].Token = model.KeyFile(g.TokenFile)
		case g.Token != "":
			rules[i].Token = model.FixedKey(g.Token)
		}
	}
	return rules, nil
}

// openGit makes what passes git's requests on. Without hosts there is none.
func (w *wayOut) openGit() error {
	rules, err := gitRules(w.app.cfg.Git)
	if err != nil || len(rules) == 0 {
		return err
	}
	w.git, err = git.New(git.Options{Rules: rules, Refused: w.refusedTo, Logger: w.app.named("git")})
	return err
}
