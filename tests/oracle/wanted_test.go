package oracle

// why is a reason for a wanted difference; it becomes a section of docs/differences-from-libcni.md.
type why struct{ title, text string }

// difference is a wanted one: why, and which keys of the outcome differ, all of them.
type difference struct {
	why why
	at  []string
}

var (
	words = why{"Words about JSON", "What is wrong with a JSON text is said in other words than Go's `encoding/json` has, and " +
		"with the key at fault; the words around them are libcni's."}
	numbers = why{"Numbers stay as they are", "libcni reads numbers into float64 and prints them again: large integers change, " +
		"1e400 is an error. Here a number reaches the plugin as it is written, an exponent as e+5."}
	bigIntegers = why{"Integers above 2^53", "A result's integers are 64 bits wide all the way; libcni sends the result through " +
		"float64 when the next plugin gets it."}
	bytesSorted = why{"Bytes of standard input", "Keys are sorted at every level, and `<`, `>` and `&` are not escaped. " +
		"The JSON is the same."}
	beingWritten = why{"Plugins that are being written", "A plugin whose file is open for writing (ETXTBSY) is tried again for some 5 s, " +
		"as libcni means to: built by a Go of today its second try is always an error, which hides the first one."}
	cancelled = why{"Cancelled calls", "A cancelled call says that it was cancelled; libcni says that the plugin failed without a " +
		"message, because it was killed."}
	cacheFirst = why{"The cache is tried first", "A cache directory that cannot be used is an error before the first plugin runs, " +
		"not after the last: nothing is attached that cannot be remembered."}
	gcUnreadable = why{"GC needs the cache", "A cache directory that cannot be read is an error; libcni says that all is collected."}
	noPlugins    = why{"Lists without plugins", "ADD of a list without plugins is an error; libcni caches an attachment whose result is null."}
	sharedName   = why{"Shared file names", "Two attachments whose names make the same file name: the second ADD is refused " +
		"before a plugin runs; libcni overwrites the first one's entry."}
	ownDirectory = why{"A directory beside results", "The cache directory has a directory `cnirt`, where files are written before " +
		"they are renamed: an entry is there whole or not at all, and temporary files are never among the entries."}
	namesChecked = why{"Names are checked before they become paths", "DEL, CHECK and the cache do not follow a container ID with " +
		"dots and slashes to another attachment's entry, and an entry with names that no attachment can have is not listed."}
	entryStays = why{"DEL forgets last", "The cache entry stays until every plugin's DEL succeeded, an unreadable one too; libcni " +
		"removes one that it cannot read before the plugins ran."}
	unreadable = why{"Entries that make no sense", "An entry of an unknown kind, or with a key of a wrong type or in another case than libcni writes it, is unreadable: CHECK " +
		"says so and DEL goes on without it. libcni takes such a file for a bare result, an empty one."}
	surrogates   = why{"Invalid text", "Lone surrogates and invalid UTF-8 are refused; Go puts U+FFFD in their place."}
	nesting      = why{"Nesting", "JSON may nest 125 levels deep in a configuration and 127 elsewhere; Go allows 10000."}
	repeatedKeys = why{"Repeated keys", "Of a key that an object has twice the last value counts, and of a configuration's keys that " +
		"differ only in case the one in libcni's spelling. Go reads one value into the other: objects are merged, and the last spelling counts."}
	extensions   = why{"Repeated extensions", "An extension that is given more than once lists a file once."}
	nullElements = why{"null in lists", "null as an element of a result's lists is an error or is left out; libcni panics."}
	absent       = why{"Absent addresses", "An address or a destination that a result lacks is written as `<nil>`, as libcni does; what gets such " +
		"a result from C, Go's module too, cannot read that again."}
	versionsWords = why{"cniVersions of a wrong type", "The message names the type that is there; libcni names the one that it wants."}
	fileNames     = why{"Files are named", "An error about a file begins with its path."}
)

// wanted are the differences by the row's name.
var wanted = map[string]difference{
	"the first plugin answers ADD with a large mtu":                 {bigIntegers, []string{"1 add: run 2 stdin"}},
	"parse: HTML in a value":                                        {bytesSorted, []string{"result"}},
	"standard input, byte for byte":                                 {bytesSorted, []string{"1 add: run 1 stdin"}},
	"the cache directory is a file":                                 {cacheFirst, []string{"1 add: error", "1 add: run 1"}},
	"DEL is cancelled while a plugin runs":                          {cancelled, []string{"2 del: depth", "2 del: error", "2 del: msg"}},
	"the context ends while a plugin runs":                          {cancelled, []string{"1 add: depth", "1 add: error", "1 add: msg"}},
	"the context has ended before ADD":                              {cancelled, []string{"1 add: error", "1 add: msg"}},
	"a failing DEL with an unreadable entry":                        {entryStays, []string{"cache/results/net-pod1-eth0"}},
	"files of an extension given again":                             {extensions, []string{"result"}},
	"CHECK and DEL with a zero-byte file":                           {fileNames, []string{"1 check: error"}},
	"in the cache: a zero-byte file":                                {fileNames, []string{"1 cached result: error", "2 cached config: error"}},
	"load past a broken file":                                       {fileNames, []string{"error"}},
	"load past a broken single file":                                {fileNames, []string{"error"}},
	"with files: one is broken":                                     {fileNames, []string{"error"}},
	"GC where the cache directory cannot be read":                   {gcUnreadable, []string{"1 gc: error"}},
	"DEL of a container ID that leads to another entry":             {namesChecked, []string{"1 check: run 1 stdin", "2 del: run 1 stdin", "cache/results/x-eth0"}},
	"with files: a network's name that leads out":                   {namesChecked, []string{"error", "result"}},
	"parse: 200 levels deep":                                        {nesting, []string{"error", "result"}},
	"a list without plugins":                                        {noPlugins, []string{"1 add: error", "2 attachments: result"}},
	"convert null in interfaces to 0.2.0":                           {nullElements, []string{"error"}},
	"convert null in interfaces to 0.4.0":                           {nullElements, []string{"error"}},
	"convert null in ips to 0.2.0":                                  {nullElements, []string{"error"}},
	"convert null in ips to 0.4.0":                                  {nullElements, []string{"error"}},
	"convert null in routes to 0.2.0":                               {nullElements, []string{"error"}},
	"a number beyond float64":                                       {numbers, []string{"1 add: error", "1 add: result", "1 add: run 1", "cache/results/net-pod1-eth0"}},
	"capability arguments that a float64 cannot hold":               {numbers, []string{"2 gc: run 1 stdin"}},
	"numbers that a float64 cannot hold":                            {numbers, []string{"1 add: run 1 stdin"}},
	"parse: a number 1.0":                                           {numbers, []string{"result"}},
	"parse: a number 1e400":                                         {numbers, []string{"error", "result"}},
	"parse: a number of 20 digits":                                  {numbers, []string{"result"}},
	"parse: a number with an exponent":                              {numbers, []string{"result"}},
	"parse: an integer above 2^53":                                  {numbers, []string{"result"}},
	"the cache has directories of its own":                          {ownDirectory, []string{"cache/cnirt mode"}},
	"two attachments whose file names are the same":                 {sharedName, []string{"2 add: error", "2 add: result", "2 add: run 1", "3 attachments: result", "cache/results/net-a-b-c"}},
	"parse: a lone surrogate":                                       {surrogates, []string{"error", "result"}},
	"parse: invalid UTF-8 in a value":                               {surrogates, []string{"error", "result"}},
	"CHECK and DEL with an entry whose result is a list":            {unreadable, []string{"1 check: error", "1 check: run 1", "2 del: run 1 stdin"}},
	"CHECK and DEL with an entry with config that is not base64":    {unreadable, []string{"1 check: error", "1 check: run 1", "2 del: run 1 stdin"}},
	"CHECK and DEL with an unknown kind":                            {unreadable, []string{"1 check: error", "1 check: run 1", "2 del: run 1 stdin"}},
	"CHECK and DEL with null":                                       {unreadable, []string{"1 check: error", "1 check: run 1", "2 del: run 1 stdin"}},
	"in the cache: an entry whose result is a list":                 {unreadable, []string{"1 cached result: error", "1 cached result: result", "2 cached config: error"}},
	"in the cache: an entry with config that is not base64":         {unreadable, []string{"1 cached result: error", "1 cached result: result", "2 cached config: error"}},
	"in the cache: an unknown kind":                                 {unreadable, []string{"1 cached result: error", "1 cached result: result", "2 cached config: error"}},
	"in the cache: null":                                            {unreadable, []string{"1 cached result: error", "1 cached result: result", "2 cached config: error"}},
	"parse: cniVersions that are null":                              {versionsWords, []string{"error"}},
	"parse: cniVersions that are text":                              {versionsWords, []string{"error"}},
	"CHECK and DEL with a list":                                     {words, []string{"1 check: error"}},
	"CHECK and DEL with half an object":                             {words, []string{"1 check: error"}},
	"CHECK of an unreadable entry":                                  {words, []string{"1 check: error"}},
	"VERSION that says nothing":                                     {words, []string{"1 version: error"}},
	"VERSION that says text":                                        {words, []string{"1 version: error"}},
	"convert a mask that is too long to 0.2.0":                      {words, []string{"error"}},
	"convert a mask that is too long to 0.4.0":                      {words, []string{"error"}},
	"convert a mask that is too long to 1.1.0":                      {words, []string{"error"}},
	"convert an address with a zone to 0.2.0":                       {words, []string{"error"}},
	"convert an address with a zone to 0.4.0":                       {words, []string{"error"}},
	"convert an address with a zone to 1.1.0":                       {words, []string{"error"}},
	"convert an address with zeros to 0.2.0":                        {words, []string{"error"}},
	"convert an address with zeros to 0.4.0":                        {words, []string{"error"}},
	"convert an address with zeros to 1.1.0":                        {words, []string{"error"}},
	"in the cache: a list":                                          {words, []string{"1 cached result: error", "2 cached config: error"}},
	"in the cache: half an object":                                  {words, []string{"1 cached result: error", "2 cached config: error"}},
	"parse: a byte order mark":                                      {words, []string{"error"}},
	"parse: a capability that is text":                              {words, []string{"error"}},
	"parse: a comment":                                              {words, []string{"error"}},
	"parse: a known key of a wrong type":                            {words, []string{"error"}},
	"parse: a list as text":                                         {words, []string{"error"}},
	"parse: a plugin that is text":                                  {words, []string{"error"}},
	"parse: a raw control character":                                {words, []string{"error"}},
	"parse: a type that is a number":                                {words, []string{"error"}},
	"parse: an empty text":                                          {words, []string{"error"}},
	"parse: capabilities that are a list":                           {words, []string{"error"}},
	"parse: half an object":                                         {words, []string{"error"}},
	"parse: ipam of a wrong type":                                   {words, []string{"error"}},
	"parse: text after the object":                                  {words, []string{"error"}},
	"parse: white space":                                            {words, []string{"error"}},
	"the first plugin answers ADD with a byte order mark":           {words, []string{"1 add: error"}},
	"the first plugin answers ADD with a gateway that is none":      {words, []string{"1 add: error"}},
	"the first plugin answers ADD with a list":                      {words, []string{"1 add: error"}},
	"the first plugin answers ADD with a mtu with a fraction":       {words, []string{"1 add: error"}},
	"the first plugin answers ADD with an address that is none":     {words, []string{"1 add: error"}},
	"the first plugin answers ADD with an address without a length": {words, []string{"1 add: error"}},
	"the first plugin answers ADD with ips that are an object":      {words, []string{"1 add: error"}},
	"the first plugin answers ADD with text":                        {words, []string{"1 add: error"}},
	"the first plugin answers ADD with text, and fails":             {words, []string{"1 add: error", "1 add: msg"}},
	"the first plugin answers ADD with two objects":                 {words, []string{"1 add: error"}},
	"CHECK and DEL with an entry and more after it":                 {words, []string{"1 check: error"}},
	"CHECK and DEL with an entry of zeros":                          {words, []string{"1 check: error"}},
	"CHECK and DEL with an entry torn in its result":                {words, []string{"1 check: error"}},
	"CHECK and DEL with an entry whose end is zeros":                {words, []string{"1 check: error"}},
	"CHECK and DEL with an entry without its last byte":             {words, []string{"1 check: error"}},
	"ConfFromBytes text":                                            {words, []string{"error"}},
	"ConfFromFile broken.conf":                                      {fileNames, []string{"error"}},
	"ConfFromFile empty.conf":                                       {fileNames, []string{"error"}},
	"ConfFromFile no-type.conf":                                     {fileNames, []string{"error"}},
	"ConfListFromConf text":                                         {words, []string{"error"}},
	"InjectConf a type that is a number":                            {words, []string{"error"}},
	"InjectConf beside an integer above 2^53":                       {numbers, []string{"result"}},
	"InjectConf capabilities of a wrong type":                       {words, []string{"error"}},
	"InjectConf dns of a wrong type":                                {words, []string{"error"}},
	"InjectConf text beyond ASCII":                                  {bytesSorted, []string{"result"}},
	"InjectConf text with HTML":                                     {bytesSorted, []string{"result"}},
	"LoadConf past a broken file":                                   {fileNames, []string{"error"}},
	"LoadConf where a .conf is a list":                              {fileNames, []string{"error"}},
	"NetworkConfFromBytes text":                                     {words, []string{"error"}},
	"NetworkConfFromFile empty.conf":                                {fileNames, []string{"error"}},
	"NetworkConfFromFile half.conflist":                             {fileNames, []string{"error"}},
	"NetworkConfFromFile none.conflist":                             {fileNames, []string{"error"}},
	"a plugin that somebody goes on writing":                        {beingWritten, []string{"1 add: error", "1 add: msg"}},
	"a plugin that somebody is done writing after a while":          {beingWritten, []string{"1 add: code", "1 add: depth", "1 add: error", "1 add: msg", "1 add: result", "1 add: run 1", "cache/results/net-pod1-eth0"}},
	"in the cache: an entry and more after it":                      {words, []string{"1 cached result: error", "2 cached config: error"}},
	"in the cache: an entry of zeros":                               {words, []string{"1 cached result: error", "2 cached config: error"}},
	"in the cache: an entry torn in its result":                     {words, []string{"1 cached result: error", "2 cached config: error"}},
	"in the cache: an entry whose end is zeros":                     {words, []string{"1 cached result: error", "2 cached config: error"}},
	"in the cache: an entry without its last byte":                  {words, []string{"1 cached result: error", "2 cached config: error"}},
	"ConfFromBytes an object twice":                                 {repeatedKeys, []string{"result"}},
	"ConfFromBytes a key in two cases":                              {repeatedKeys, []string{"result"}},
	"convert a dns twice to 0.2.0":                                  {repeatedKeys, []string{"result"}},
	"convert a dns twice to 0.4.0":                                  {repeatedKeys, []string{"result"}},
	"convert a dns twice to 1.1.0":                                  {repeatedKeys, []string{"result"}},
	"in the cache: an entry with base64 in lines":                   {unreadable, []string{"1 cached result: error", "1 cached result: result", "2 cached config: error", "2 cached config: result", "3 attachments: result"}},
	"in the cache: an entry with arguments that are no pairs":       {unreadable, []string{"1 cached result: error", "1 cached result: result", "2 cached config: error", "2 cached config: result", "3 attachments: result"}},
	"in the cache: an entry with keys in another case":              {unreadable, []string{"1 cached result: result", "2 cached config: error", "2 cached config: result", "3 attachments: result"}},
	"in the cache: an entry without a container":                    {namesChecked, []string{"3 attachments: result"}},
	"in the cache: an entry of a network whose name is a path":      {namesChecked, []string{"3 attachments: result"}},
	"in the cache: an entry whose result has a route without dst":   {absent, []string{"1 cached result: error", "1 cached result: result"}},
}
