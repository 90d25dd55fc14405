package proxy

import (
	"crypto/sha256"
	_ "embed" // the page and its script
	"encoding/base64"
	"html/template"

	"berth/internal/session"
)

//go:embed progress.html
var progressText string

//go:embed progress.js
var progressScript template.JS // with its comments, which a template would remove

// progressPage shows how far a session's start has come. With scripts it asks for the progress and opens the session when it runs;
// without, it reloads itself, but only while a start is in progress.
var progressPage = page("progress", progressText+"<script>{{.Script}}</script>\n")

// progressPolicy lets the page run its script and ask its own origin.
var progressPolicy = func() string {
	sum := sha256.Sum256([]byte(progressScript))
	return "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
}()

// progressView is what [progressPage] shows.
type progressView struct {
	Ended  bool // no start is in progress
	Text   string
	Stages []stageView
	Script template.JS
}

type stageView struct {
	Stage session.Stage
	Label string
	State string // "done", "now", or "" for one that follows
}

var progressStages = []stageView{
	{Stage: session.StageQueued, Label: "Requested"},
	{Stage: session.StageContainer, Label: "Container"},
	{Stage: session.StageServer, Label: "Server"},
	{Stage: session.StageReady, Label: "Ready"},
}

func newProgressView(p session.Progress) progressView {
	v := progressView{Text: p.Message, Script: progressScript}
	at := -1
	for i, s := range progressStages {
		if s.Stage == p.Stage {
			at = i
		}
	}
	v.Ended = at < 0
	for i, s := range progressStages {
		switch {
		case i < at:
			s.State = "done"
		case i == at:
			s.State = "now"
		}
		v.Stages = append(v.Stages, s)
	}
	if v.Ended && v.Text == "" {
		v.Text = "The session is not running."
	}
	return v
}
