package doctor

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// SARIF is a log in the Static Analysis Results Interchange Format 2.1.0 (OASIS), as far as it is needed here.
type SARIF struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []SARIFRun `json:"runs"`
}

// SARIFRun is one run of the checklist.
type SARIFRun struct {
	Tool    SARIFTool     `json:"tool"`
	Results []SARIFResult `json:"results"`
}

// SARIFTool says what made the results.
type SARIFTool struct {
	Driver SARIFDriver `json:"driver"`
}

// SARIFDriver is Berth, with a rule for each check.
type SARIFDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version,omitempty"`
	Rules   []SARIFRule `json:"rules"`
}

// SARIFRule is a check.
type SARIFRule struct {
	ID               string       `json:"id"`
	Name             string       `json:"name"`
	ShortDescription SARIFMessage `json:"shortDescription"`
}

// SARIFResult is a finding. Kind and level go together: only the kind "fail" has another level than "none".
type SARIFResult struct {
	RuleID     string            `json:"ruleId"` // the rule, a slash, and the finding's code
	RuleIndex  int               `json:"ruleIndex"`
	Kind       string            `json:"kind"`
	Level      string            `json:"level"`
	Message    SARIFMessage      `json:"message"`
	Locations  []SARIFLocation   `json:"locations,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
}

// SARIFMessage is a text.
type SARIFMessage struct {
	Text string `json:"text"`
}

// SARIFLocation is a file, or a line of it.
type SARIFLocation struct {
	PhysicalLocation SARIFPhysical `json:"physicalLocation"`
}

// SARIFPhysical names the file by its URI: relative paths relatively.
type SARIFPhysical struct {
	ArtifactLocation struct {
		URI string `json:"uri"`
	} `json:"artifactLocation"`
	Region *SARIFRegion `json:"region,omitempty"`
}

// SARIFRegion is a line, from 1.
type SARIFRegion struct {
	StartLine int `json:"startLine"`
}

const sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

// sarifKinds gives each status its kind and level.
var sarifKinds = map[Status][2]string{
	Pass:    {"pass", "none"},
	Warn:    {"fail", "warning"},
	Fail:    {"fail", "error"},
	Skipped: {"notApplicable", "none"},
}

// SARIF is the report for tools that read that format. version is Berth's own; it may be empty.
func (r Report) SARIF(version string) SARIF {
	run := SARIFRun{Tool: SARIFTool{Driver: SARIFDriver{Name: "berth doctor", Version: version, Rules: []SARIFRule{}}}, Results: []SARIFResult{}}
	for i, result := range r.Results {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, SARIFRule{
			ID: result.Check, Name: pascal(result.Check), ShortDescription: SARIFMessage{result.Title},
		})
		for _, f := range result.Findings {
			run.Results = append(run.Results, f.sarif(result.Check, i))
		}
	}
	return SARIF{Schema: sarifSchema, Version: "2.1.0", Runs: []SARIFRun{run}}
}

func (f Finding) sarif(check string, rule int) SARIFResult {
	kind := sarifKinds[f.Status]
	result := SARIFResult{
		RuleID: check + "/" + f.Code, RuleIndex: rule, Kind: kind[0], Level: kind[1], Message: SARIFMessage{f.Seen},
	}
	if f.Remedy != "" {
		result.Message.Text += ". Remedy: " + f.Remedy
		result.Properties = map[string]string{"remedy": f.Remedy}
	}
	if f.Path != "" {
		var at SARIFLocation
		at.PhysicalLocation.ArtifactLocation.URI = fileURI(f.Path)
		if f.Line > 0 {
			at.PhysicalLocation.Region = &SARIFRegion{f.Line}
		}
		result.Locations = []SARIFLocation{at}
	}
	return result
}

func fileURI(path string) string {
	path = filepath.ToSlash(filepath.Clean(path))
	u := url.URL{Path: path}
	if strings.HasPrefix(path, "/") {
		u.Scheme = "file"
	}
	return u.String()
}

// pascal turns kebab-case into PascalCase, as the format wants names of rules.
func pascal(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "-") {
		if word != "" {
			fmt.Fprintf(&b, "%s%s", strings.ToUpper(word[:1]), word[1:])
		}
	}
	return b.String()
}
