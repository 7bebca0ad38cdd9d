-- The block protocol as the engine implements it: ONE block, three instances, loss, duplication, timers, no
-- crash.  It differs from the reference model (block-loss.m of the design) in four rules:
--   A  the master keeps one number per instance (mark), nothing per block once an entry is idle;
--   B  invalidate names a tenure only, the requester remembers it as `refuse`;
--   C  the source of an X ship keeps the image until the master says confirmed(tenure);
--   E  a torn pull of an image: the words stay, the same request number is sent again.
-- The master is a role of its own; messages to itself go through the network (more general than
-- immediate delivery).  Network: unordered multiset, any message may overtake any other.
-- "Left in the network" models a message that the receiver parks (pins, disk write in flight).
-- Switches: all 0 = the repaired protocol.  LIT_* = 1: the text read literally.  MUT_* = 1: planted mutant.
const
  NODES: 3;
  LIFTS: 1;      -- times a mark may rise because of other blocks (bounces that nothing here calls for)
  TORN: 0;       -- 1: an image may be torn on arrival (counts as a fault)
  READFAIL: 0;   -- 1: a granted disk read may fail (counts as a fault): the tenure is released without having begun
  SLOTS: 12;      -- messages in flight at once; overflow is an error, not a block
  MAXV: 2;       -- modifications in a run
  BUDGET: 2;     -- voluntary requests in a run, all instances together
  MAXI: 6;       -- request number of an instance; overflow is an error
  MAXT: 9;       -- tenures; overflow is an error
  LANES: 0;      -- 1: order kept in the lanes master -> instance and instance -> master
  PIS: 0;        -- 1: model written / discard of past images
  FAULTS: 1;     -- messages lost or doubled in a run
  ---- the engine's refinements; each was tried without its guard
  LIT_DUPREQ: 0;    -- A1 finished numbers are not remembered at all: mark never rises
  LIT_NOBOUNCE: 0;  -- A2 a number at or under the mark is ignored, not bounced
  LIT_MARKFIRST: 0; -- A3 the mark is looked at before the queued and the pending number
  LIT_BOUNCEANY: 0; -- A4 the requester obeys a bounce of a number that is not its open one
  MUT_NEXTLOST: 0;  -- A5 the tenure counter is forgotten with the entry
  ALT_MARKGRANT: 0; -- (passes) mark rises at the grant, not when the grant is finished
  ALT_BOUNCEGR: 0;  -- (passes) a bounce is obeyed by a requester that already has its S grant
  LIT_BOUNCEHEAR: 0; -- A6 the requester ignores every bounce
  LIT_NOREFUSE: 0;  -- B1 an invalidate that overtakes its S copy is acknowledged and not remembered
  LIT_NOCANCEL: 0;  -- B2 ... remembered, but a disk read already granted is not cancelled
  LIT_NOTEONLY: 0;  -- B4 an invalidate noted before any words came does not make the requester ask: it waits for its timer
  LIT_REFUSELT: 0;  -- B3 only tenures strictly under `refuse` are refused
  ALT_REFUSENUM: 0; -- (passes) refuse is forgotten at every new number, not only with the conversation
  ALT_CANCELNOW: 0; -- (passes) the cancelled disk read is given up at once, not when it completes
  LIT_NOKEPT: 0;    -- C1 no timer asks about a kept image: a lost confirmed leaves it for ever
  LIT_CONFPEND: 0;  -- C2 kept is answered by confirmed though that tenure is pending
  LIT_CONFANY: 0;   -- C3 confirmed of any tenure drops the kept image
  MUT_CONFSHIP: 0;  -- C4 the source drops the image as soon as the ship is sent (kept for nobody)
  LIT_EVICTREL: 0;  -- D1 evicts again while the previous release is not acknowledged
  LIT_TORNNEW: 0;   -- E1 a torn pull asks again under a NEW number
  ALT_TORNWORDS: 0; -- (passes) the words of a torn ship stay, only the image is missing
  ALT_HEARTWICE: 0; -- (passes) words of a grant already in are taken again from its repetition
  ALT_READYPEND: 0; -- (passes) "tenure held" = a pending entry says that its installed was lost
  LIT_FAILNOW: 0;   -- F1 a failed read releases at once, before the names of the set are in
  LIT_FAILOVER: 0;  -- F2 ... before the older release is acknowledged
  LIT_FAILPAST: 0;  -- P3 an X tenure that was to read the disk and failed leaves names on the list of past images
  LIT_PASTLIST: 0;  -- P1 past is answered by discard though the master has that instance on its list
  LIT_NOPAST: 0;    -- P2 no timer asks about a past image: a lost discard leaves it for ever
  ---- repeated messages
  LIT_NOKEEP: 0;    -- L2 shipped image not kept: a repeated forward is answered not-held
  LIT_NOPROBE: 0;   -- L3 nobody repairs a lost installed
  LIT_NOXSET: 0;    -- L4 a repeated request repeats the grant/forward, not the invalidates
  ---- literal readings of the text
  LIT_ACKLATE: 0;   -- R1 invalidate ahead of its ship is acknowledged only when the ship is refused
  LIT_SRCANY: 0;    -- R2 X forward may go to any sharer, not only the write-responsible one
  LIT_GONE_X: 0;    -- R3a X grant nobody waits for is released at once (set not awaited)
  LIT_GONE_D: 0;    -- R3b ... set awaited, but a dirty shipped image is released without a write
  LIT_NOSET: 0;     -- R4 the forward/ship does not carry the set of sharers
  LIT_EARLYACK: 0;  -- R5 an invalidated that arrives before the grant "changes nothing"
  LIT_EVICTUPG: 0;  -- R6 S copy may be evicted while its upgrade request is open
  LIT_DIRTRUST: 0;  -- R7 master believes its entry, not "tenure held", on a request that overtook a release
  LIT_OVERWRITE: 0; -- R7' master takes "tenure held: none" as the release
  LIT_NHREL: 0;     -- R8 not-held does not free the entry, release awaited: master may choose the same again
  LIT_RELDROP: 0;   -- R9 a release that overtakes its own installed is ignored until installed
  LIT_NOREASK: 0;   -- R10 refused S grant: nobody asks again
  LIT_FWDTEN: 0;    -- R11 forward names the new tenure only: the holder serves with whatever copy it has
  LIT_GVER: 0;      -- R12 "a grant carries version" taken as exact
  LIT_PIOLDER: 0;   -- R13 I-4 "older than current" taken as strict
  ---- mutants
  MUT_SKIP: 0;      -- X does not wait for one name of the set
  MUT_OLDTEN: 0;    -- ship of an old request/tenure accepted
  MUT_DROPDIRTY: 0; -- dirty S copy evicted like a clean one
  MUT_GIVEWR: 0;    -- X / write duty given away during a disk write
  MUT_REUSE: 0;     -- master starts the next conversation before installed
  MUT_EARLYREL: 0;  -- release sent when the disk write starts, not when it is complete
  MUT_NODUTY: 0;    -- X grantee inherits the duty only if it changes the block
  MUT_DISKANY: 0;   -- disk read granted though a holder exists
  MUT_INSTEARLY: 0; -- installed sent when the image is in, before the set is in
  MUT_DISCARD: 0;   -- discard sent for the version asked to be written, not the durable one (PIS=1)
  ---- message kinds (numbers, so that the network can be kept sorted)
  None: 0;
  Request: 1;
  Grant: 2;
  Forward: 3;
  ShipMsg: 4;
  Invalidate: 5;
  Invalidated: 6;
  Installed: 7;
  Release: 8;
  RelAck: 9;
  NotHeld: 10;
  Written: 11;
  Discard: 12;
  Probe: 13;
  Bounce: 14;
  Confirmed: 15;
  Kept: 16;
  Past: 17;
type
  Node: scalarset(NODES);
  Slot: 0..SLOTS-1;           -- kept sorted by Key: a multiset has one representation
  Ver: 0..MAXV;
  Ten: 0..MAXT;
  Id:  0..MAXI;
  Mode: enum {N, S, X};
  How: enum {Ship, Disk, Upgrade};       -- where the data of a grant comes from
  Kind: 0..17;
  Set: array [Node] of boolean;
  Msg: record
    k: Kind;
    n: Node;        -- the instance that gets it (from master / peers) or sent it (to master)
    r: Node;        -- the requester of the conversation, or the sender of a peer message
    id: Id;         -- request number of the conversation
    ten: Ten;       -- tenure being granted
    hten: Ten;      -- tenure of the copy the message is about ("held")
    mode: Mode;
    how: How;
    ver: Ver;
    dv: Ver;
    set: Set;
  end;
  NodeState: record
    mode: Mode; ten: Ten; ver: Ver; dv: Ver;   -- the copy, its tenure, version, known durable version
    duty: boolean;                             -- write-responsible (last X grantee that still holds)
    wr: boolean; wver: Ver;                    -- disk write in flight
    hasPi: boolean; pi: Ver;                   -- past image
    want: Mode; id: Id;                        -- open conversation
    gr: boolean; gten: Ten; gset: Set; ghow: How;  -- grant/forward's words are here
    data: boolean; gver: Ver; gdv: Ver;            -- image is here
    early: boolean;                            -- MUT_INSTEARLY
    acks: Set;                                 -- invalidated received for this id
    can: boolean; fail: boolean;               -- disk read under way is cancelled; it failed
    refuse: Ten;                               -- S tenures up to this were invalidated before they came
    rem: Ten;                                  -- LIT_ACKLATE: remembered invalidate
    rr: Node; rid: Id; rten: Ten;
    relv: Ver; reldv: Ver;
    kten: Ten; kver: Ver; kdv: Ver;            -- image shipped with X, kept for a repeated forward
    rel: Ten;                                  -- release not yet acknowledged
  end;
  Dir: record                                  -- per instance, at the master
    mode: Mode; ten: Ten; inst: boolean; duty: boolean;
    q: Mode; qid: Id; qheld: Ten;              -- queued request
    gid: Id; src: Node; again: boolean;        -- number of the pending grant (0: none), source of its image
    shten: Ten; how: How; xten: Ten;           -- words needed to say it again
    pi: boolean; piv: Ver; pik: boolean;       -- past image known (version known)
  end;
var
  net: array [Slot] of Msg;
  nd: array [Node] of NodeState;
  d: array [Node] of Dir;
  xset: Set;            -- set of the pending X grant
  mver: Ver; mdv: Ver;  -- version and durable version the master knows
  next: Ten;            -- counter of the bucket: outlives the entry
  mark: array [Node] of Id;  -- of the master, over all blocks: highest number granted and finished
  lifts: 0..LIFTS;
  budget: 0..BUDGET;
  faults: 0..FAULTS;
  -- ghosts
  disk: Ver; newest: Ver;

procedure Blank(var m: Msg);
begin
  m.k := None; undefine m.n; undefine m.r; m.id := 0; m.ten := 0; m.hten := 0;
  m.mode := N; m.how := Ship; m.ver := 0; m.dv := 0;
  for i: Node do m.set[i] := false; end;
end;

function Key(m: Msg): 0..180000;
begin return ((m.k * 10 + m.ten) * 10 + m.hten) * 10 + m.id; end;

procedure Send(var m: Msg);
var c: Msg; var t: Msg;
begin
  if net[SLOTS-1].k != None then error "network overflow (raise SLOTS)"; end;
  c := m;
  for s: Slot do
    if c.k != None then
      if net[s].k = None then net[s] := c; c.k := None;
      elsif Key(c) < Key(net[s]) then t := net[s]; net[s] := c; c := t;
      end;
    end;
  end;
end;

procedure Take(s: Slot);        -- remove and close the gap
begin
  for i: Slot do
    if i >= s & i < SLOTS-1 then net[i] := net[i+1]; end;
  end;
  Blank(net[SLOTS-1]);
end;

procedure ToMaster(k: Kind; n: Node; ten: Ten; v: Ver; dv: Ver; id: Id);
var m: Msg;
begin Blank(m); m.k := k; m.n := n; m.ten := ten; m.ver := v; m.dv := dv; m.id := id; Send(m); end;

procedure SendRequest(n: Node);
var m: Msg;
begin
  Blank(m); m.k := Request; m.n := n; m.id := nd[n].id; m.mode := nd[n].want; m.hten := nd[n].ten;
  Send(m);
end;

procedure SendGrant(n: Node; id: Id; ten: Ten; mo: Mode; h: How; st: Set);
var m: Msg;
begin
  Blank(m); m.k := Grant; m.n := n; m.id := id; m.ten := ten; m.mode := mo; m.how := h;
  m.ver := mver; m.dv := mdv; m.set := st; Send(m);
end;

procedure SendForward(h: Node; hten: Ten; r: Node; id: Id; ten: Ten; mo: Mode; st: Set);
var m: Msg;
begin
  Blank(m); m.k := Forward; m.n := h; m.hten := hten; m.r := r; m.id := id; m.ten := ten; m.mode := mo;
  m.set := st; Send(m);
end;

procedure SendInvalidate(n: Node; hten: Ten; r: Node; id: Id; ten: Ten);
var m: Msg;
begin
  Blank(m); m.k := Invalidate; m.n := n; m.hten := hten; m.r := r; m.id := id; m.ten := ten;
  Send(m);
end;

procedure SendInvalidated(t: Node; from: Node; id: Id; ten: Ten; ht: Ten);
var m: Msg;
begin Blank(m); m.k := Invalidated; m.n := t; m.r := from; m.id := id; m.ten := ten; m.hten := ht; Send(m); end;

procedure ClearConv(n: Node);   -- forget what came for the open number
begin
  nd[n].can := false; nd[n].fail := false;
  nd[n].gr := false; nd[n].early := false; nd[n].gten := 0; nd[n].ghow := Ship; nd[n].data := false; nd[n].gver := 0; nd[n].gdv := 0;
  for i: Node do nd[n].gset[i] := false; nd[n].acks[i] := false; end;
end;

procedure Drop(n: Node);        -- the copy ends
begin
  nd[n].mode := N; nd[n].ten := 0; nd[n].ver := 0; nd[n].dv := 0; nd[n].duty := false;
end;

procedure Unkeep(n: Node);
begin nd[n].kten := 0; nd[n].kver := 0; nd[n].kdv := 0; end;

procedure KeepPi(n: Node);      -- a dirty copy whose duty went elsewhere becomes a past image
begin
  if PIS = 1 & nd[n].duty & nd[n].ver > nd[n].dv then nd[n].hasPi := true; nd[n].pi := nd[n].ver; end;
end;

procedure DropConvRelease(n: Node);  -- a tenure that does not begin is released
begin
  ToMaster(Release, n, nd[n].gten, nd[n].gver, nd[n].gdv, nd[n].id);
  nd[n].rel := nd[n].gten; nd[n].relv := nd[n].gver; nd[n].reldv := nd[n].gdv;
  nd[n].refuse := 0;
  nd[n].want := N;
  if nd[n].mode != N then Drop(n); end;
  ClearConv(n);
end;

-- Requester: image and every name in, then the mode begins and installed goes out.
procedure TryInstall(n: Node);
var all: boolean;
begin
  all := true;
  for i: Node do if nd[n].gset[i] & !nd[n].acks[i] then all := false; end; end;
  if MUT_INSTEARLY = 1 & nd[n].want != N & nd[n].gr & nd[n].data & !nd[n].early then
    nd[n].early := true; ToMaster(Installed, n, nd[n].gten, nd[n].gver, nd[n].gdv, nd[n].id);
  end;
  if nd[n].want != N & nd[n].fail then
    if (all | LIT_FAILNOW = 1) & (nd[n].rel = 0 | LIT_FAILOVER = 1) then DropConvRelease(n); end;
  elsif nd[n].want != N & nd[n].gr & nd[n].data & all then
    if nd[n].ghow = Upgrade then
      if nd[n].mode != S then error "I-2 upgrade in place without a copy"; end;
      nd[n].gver := nd[n].ver;
      if nd[n].dv > nd[n].gdv then nd[n].gdv := nd[n].dv; end;
    end;
    if nd[n].gver != newest then error "I-2 installed image is not the newest version"; end;
    if nd[n].gten <= nd[n].ten then error "I-2 tenure did not rise"; end;
    nd[n].mode := nd[n].want; nd[n].ten := nd[n].gten; nd[n].ver := nd[n].gver; nd[n].dv := nd[n].gdv;
    nd[n].duty := (nd[n].want = X);
    if MUT_NODUTY = 1 then nd[n].dv := nd[n].gver; end;
    if MUT_INSTEARLY = 0 then ToMaster(Installed, n, nd[n].ten, nd[n].ver, nd[n].dv, nd[n].id); end;
    if nd[n].kten < nd[n].ten then Unkeep(n); end;     -- a newer tenure began: the older ship arrived long ago
    nd[n].want := N; nd[n].refuse := 0;
    ClearConv(n);
  end;
end;

procedure AskAgain(n: Node);     -- under a new number; the old one will never be granted, or was invalidated away
begin
  ClearConv(n);
  if ALT_REFUSENUM = 1 then nd[n].refuse := 0; end;
  nd[n].id := nd[n].id + 1;
  if LIT_NOREASK = 0 then SendRequest(n); end;
end;

procedure Truth(n: Node; ten: Ten);   -- a message of a tenure that is not being waited for
begin
  if nd[n].mode != N & nd[n].ten = ten then ToMaster(Installed, n, ten, nd[n].ver, nd[n].dv, nd[n].id);
  elsif nd[n].rel != 0 & nd[n].rel = ten then ToMaster(Release, n, ten, nd[n].relv, nd[n].reldv, 0);
  elsif LIT_DUPREQ = 1 then ToMaster(Release, n, ten, 0, 0, 0);  -- "a grant nobody waits for is answered by release"
  end;
end;

function ToInst(k: Kind): boolean;
begin return k = Grant | k = Forward | k = Invalidate; end;

function Turn(s: Slot): boolean;         -- LANES: nothing sent earlier on the same lane is still under way
begin
  if LANES = 0 then return true; end;
  if ToInst(net[s].k) then               -- the master sends rising tenures
    return forall t: Slot do
      !(ToInst(net[t].k) & net[t].n = net[s].n & net[t].ten < net[s].ten) end;
  end;
  if net[s].k = Request then
    return forall t: Slot do !((net[t].k = Installed | net[t].k = Release) & net[t].n = net[s].n) end;
  end;
  if net[s].k = Release then
    return forall t: Slot do !(net[t].k = Installed & net[t].n = net[s].n & net[t].ten <= net[s].ten) end;
  end;
  if net[s].k = NotHeld then
    return forall t: Slot do !(net[t].k = Release & net[t].n = net[s].n & net[t].ten <= net[s].hten) end;
  end;
  return true;
end;

------------------------------------------------------------------ instance: local events
ruleset n: Node; mo: Mode do
  rule "N1 request (S, X, or upgrade)"
    budget > 0 & nd[n].want = N & mo != N
    & (nd[n].mode = N | (nd[n].mode = S & mo = X))
  ==> begin
    budget := budget - 1;
    nd[n].want := mo; nd[n].id := nd[n].id + 1;
    SendRequest(n);
  end;
end;

ruleset n: Node do
  rule "N2 modify under X"
    nd[n].mode = X & newest < MAXV
  ==> begin
    newest := newest + 1; nd[n].ver := newest;
  end;

  rule "N3 disk write starts (private copy of the image)"
    nd[n].mode != N & nd[n].duty & nd[n].ver > nd[n].dv & !nd[n].wr
  ==> begin
    nd[n].wr := true; nd[n].wver := nd[n].ver;
    if MUT_DISCARD = 1 then ToMaster(Written, n, nd[n].ten, nd[n].ver, nd[n].ver, 0); end;
  end;

  rule "N4 disk write complete = durable"
    nd[n].wr
  ==> begin
    if nd[n].wver < disk then error "I-8 version on disk decreases"; end;
    disk := nd[n].wver;
    if nd[n].mode != N & nd[n].dv < disk then nd[n].dv := disk; end;
    nd[n].wr := false; nd[n].wver := 0;
    if PIS = 1 then
      if nd[n].hasPi & nd[n].pi <= disk then nd[n].hasPi := false; nd[n].pi := 0; end;
      if MUT_DISCARD = 0 then ToMaster(Written, n, nd[n].ten, disk, disk, 0); end;
    end;
  end;

  rule "N5 evict a copy that is clean or written; release"
    nd[n].mode != N & (nd[n].want = N | (LIT_EVICTUPG = 1 & !nd[n].gr)) & (nd[n].rel = 0 | LIT_EVICTREL = 1)
    & ( (!nd[n].wr & !(nd[n].duty & nd[n].ver > nd[n].dv))
      | (MUT_DROPDIRTY = 1 & !nd[n].wr & nd[n].mode = S)
      | (MUT_EARLYREL = 1 & nd[n].wr & nd[n].wver = nd[n].ver))
  ==> begin
    ToMaster(Release, n, nd[n].ten, nd[n].ver, nd[n].dv, 0);
    nd[n].rel := nd[n].ten; nd[n].relv := nd[n].ver; nd[n].reldv := nd[n].dv;
    Drop(n);
  end;

  rule "N6 granted disk read completes"
    nd[n].want != N & nd[n].gr & nd[n].ghow = Disk & !nd[n].data
  ==> begin
    if nd[n].can then AskAgain(n);
    else
      nd[n].data := true; nd[n].gver := disk;
      if nd[n].gdv < disk then nd[n].gdv := disk; end;
      TryInstall(n);
    end;
  end;

  rule "N6f granted disk read fails"
    READFAIL = 1 & faults > 0 & nd[n].want != N & nd[n].gr & nd[n].ghow = Disk & !nd[n].data
  ==> begin
    faults := faults - 1;
    if nd[n].can then AskAgain(n);
    else nd[n].data := true; nd[n].fail := true; TryInstall(n); end;
  end;

  rule "N7 LIT_GONE_X: caller gone, grant released at once"
    LIT_GONE_X = 1 & nd[n].want = X & nd[n].gr & nd[n].ghow = Disk & nd[n].rel = 0
  ==> begin DropConvRelease(n); end;
end;

------------------------------------------------------------------ instance: messages
function Refused(refuse: Ten; ten: Ten): boolean;
begin
  if LIT_REFUSELT = 1 then return ten < refuse; end;
  return ten <= refuse;
end;

ruleset s: Slot do
  rule "N8 grant without data"
    net[s].k = Grant & Turn(s)
  ==> var m: Msg; begin
    m := net[s]; Take(s);
    alias w: nd[m.n] do
      if LIT_GVER = 1 & m.ver != newest & w.id = m.id then error "LIT_GVER version in the grant is not the version of the block"; end;
      if LIT_ACKLATE = 1 & w.rem != 0 & w.rem = m.ten then
        SendInvalidated(w.rr, m.n, w.rid, w.rten, w.rem);
        w.rem := 0; undefine w.rr; w.rid := 0; w.rten := 0;
        AskAgain(m.n);
      elsif w.want = S & m.mode = S & w.id = m.id & !w.gr & Refused(w.refuse, m.ten) then
        AskAgain(m.n);
      elsif w.want = m.mode & w.id = m.id & w.gr & ALT_HEARTWICE = 0 & ALT_TORNWORDS = 0 then     -- said again
      elsif w.want = m.mode & w.id = m.id & !w.can & !w.fail then
        w.gr := true; w.gten := m.ten; w.gset := m.set; w.ghow := m.how; w.gver := m.ver; w.gdv := m.dv;
        if m.how = Upgrade then w.data := true; end;
        TryInstall(m.n);
      else Truth(m.n, m.ten);
      end;
    end;
  end;

  rule "N9 ship arrives"
    net[s].k = ShipMsg
  ==> var m: Msg; begin
    m := net[s]; Take(s);
    alias w: nd[m.n] do
      if LIT_ACKLATE = 1 & w.rem != 0 & w.rem = m.ten then        -- refused on arrival, now acknowledged
        SendInvalidated(w.rr, m.n, w.rid, w.rten, w.rem);
        w.rem := 0; undefine w.rr; w.rid := 0; w.rten := 0;
        AskAgain(m.n);
      elsif w.want = S & m.mode = S & w.id = m.id & !w.gr & Refused(w.refuse, m.ten) then
        AskAgain(m.n);
      elsif w.want = m.mode & w.id = m.id & w.gr & ALT_HEARTWICE = 0 & ALT_TORNWORDS = 0 then     -- said again
      elsif w.want = m.mode & (w.id = m.id | MUT_OLDTEN = 1) & !w.can & !w.fail then
        w.gr := true; w.gten := m.ten; w.ghow := Ship;
        if LIT_NOSET = 0 then w.gset := m.set; end;
        w.data := true; w.gver := m.ver; w.gdv := m.dv;
        if LIT_GONE_D = 1 & w.rel = 0 & m.mode = X & (forall i: Node do !m.set[i] end) & w.gver > w.gdv then
          DropConvRelease(m.n);
        else
          TryInstall(m.n);
        end;
      elsif LIT_DUPREQ = 1 & m.mode = X & w.ten != m.ten & w.rel = 0 then
        ToMaster(Release, m.n, m.ten, m.ver, m.dv, m.id);      -- "a grant nobody waits for is answered by release"
      elsif m.mode = X & d[m.n].ten = m.ten & !d[m.n].inst & w.ten != m.ten & w.rel != m.ten then
        error "X ship refused";
      else Truth(m.n, m.ten);
      end;
    end;
  end;

  rule "N10 invalidate"
    net[s].k = Invalidate & Turn(s)
    & !(nd[net[s].n].mode != N & nd[net[s].n].ten = net[s].hten & nd[net[s].n].wr & MUT_GIVEWR = 0)
  ==> var m: Msg; begin
    m := net[s]; Take(s);
    alias w: nd[m.n] do
      if w.mode != N & w.ten = m.hten then              -- the copy it means: give it up
        KeepPi(m.n); Drop(m.n);
        SendInvalidated(m.r, m.n, m.id, m.ten, m.hten);
      elsif w.want = S & LIT_ACKLATE = 1 & !w.gr then
        w.rem := m.hten; w.rr := m.r; w.rid := m.id; w.rten := m.ten;
      elsif w.want = S & LIT_NOREFUSE = 0 then          -- it may have overtaken the S copy: remember, acknowledge now
        SendInvalidated(m.r, m.n, m.id, m.ten, m.hten);
        if m.hten > w.refuse then w.refuse := m.hten; end;
        if w.gr & Refused(w.refuse, w.gten) & LIT_NOCANCEL = 0 then
          if w.ghow = Disk & !w.data & ALT_CANCELNOW = 0 then w.can := true;   -- the frame belongs to the read until it ends
          else AskAgain(m.n); end;
        elsif !w.gr & LIT_NOTEONLY = 0 then
          SendRequest(m.n);              -- perhaps no grant will come any more (its source said not-held): a bounce will tell
        end;
      else                                              -- already gone (evicted): say so
        SendInvalidated(m.r, m.n, m.id, m.ten, m.hten);
      end;
    end;
  end;

  rule "N11 invalidated arrives at the X requester"
    net[s].k = Invalidated
  ==> var m: Msg; begin
    m := net[s]; Take(s);
    alias w: nd[m.n] do
      if w.want = X & w.id = m.id & (w.gr | LIT_EARLYACK = 0) then
        w.acks[m.r] := true; TryInstall(m.n);
      end;
    end;
  end;

  rule "N12 forward arrives at a holder"
    net[s].k = Forward & Turn(s)
    & !(nd[net[s].n].mode != N & nd[net[s].n].ten = net[s].hten & nd[net[s].n].wr & MUT_GIVEWR = 0
        & (net[s].mode = X | nd[net[s].n].mode = X))
  ==> var m: Msg; var o: Msg; begin
    m := net[s]; Take(s);
    Blank(o);
    alias w: nd[m.n] do
      if w.mode != N & (w.ten = m.hten | LIT_FWDTEN = 1) then
        o.k := ShipMsg; o.n := m.r; o.r := m.n; o.id := m.id; o.ten := m.ten; o.mode := m.mode;
        o.ver := w.ver; o.dv := w.dv; o.set := m.set;
        Send(o);
        if m.mode = X then w.kten := m.ten; w.kver := w.ver; w.kdv := w.dv;
          if MUT_CONFSHIP = 1 then Unkeep(m.n); end;
          KeepPi(m.n); Drop(m.n);
        elsif w.mode = X then w.mode := S;              -- downgrade; the write duty stays
        end;
      elsif LIT_NOKEEP = 0 & w.kten != 0 & w.kten = m.ten then      -- repeated forward: ship the kept image again
        o.k := ShipMsg; o.n := m.r; o.r := m.n; o.id := m.id; o.ten := m.ten; o.mode := m.mode;
        o.ver := w.kver; o.dv := w.kdv; o.set := m.set; Send(o);
      else
        o.k := NotHeld; o.n := m.n; o.r := m.r; o.id := m.id; o.ten := m.ten; o.hten := m.hten;
        Send(o);
      end;
    end;
  end;

  rule "N13 release acknowledged"
    net[s].k = RelAck
  ==> var m: Msg; begin
    m := net[s]; Take(s);
    if nd[m.n].rel = m.ten then
      nd[m.n].rel := 0; nd[m.n].relv := 0; nd[m.n].reldv := 0;
      if nd[m.n].fail then TryInstall(m.n); end;
    end;
  end;

  rule "N16 bounce: the number is used up"
    net[s].k = Bounce
  ==> var m: Msg; begin
    m := net[s]; Take(s);
    alias w: nd[m.n] do
      if w.want != N & (w.id = m.id | LIT_BOUNCEANY = 1) & (ALT_BOUNCEGR = 1 | !w.gr) & LIT_BOUNCEHEAR = 0 then
        if w.want = X & w.gr & LIT_BOUNCEANY = 0 & LIT_MARKFIRST = 0 then error "an X conversation with its grant in is bounced"; end;
        AskAgain(m.n);
      end;
    end;
  end;

  rule "N17 confirmed: the kept image goes (a dirty one stays as a past image under its own rule)"
    net[s].k = Confirmed
  ==> var m: Msg; begin
    m := net[s]; Take(s);
    if nd[m.n].kten != 0 & (nd[m.n].kten = m.ten | LIT_CONFANY = 1) then Unkeep(m.n); end;
  end;

  rule "N18 torn: the image is useless, the words are forgotten with it; the same number asks again"
    TORN = 1 & faults > 0 & net[s].k = ShipMsg & nd[net[s].n].want = net[s].mode & nd[net[s].n].id = net[s].id
    & !(net[s].mode = S & Refused(nd[net[s].n].refuse, net[s].ten)) & !nd[net[s].n].gr
  ==> var m: Msg; begin
    m := net[s]; Take(s); faults := faults - 1;
    alias w: nd[m.n] do
      if ALT_TORNWORDS = 1 then w.gr := true; w.gten := m.ten; w.ghow := Ship; w.gset := m.set; end;
      if LIT_TORNNEW = 1 then AskAgain(m.n); else SendRequest(m.n); end;
    end;
  end;

  rule "N14 discard"
    net[s].k = Discard
  ==> var m: Msg; begin
    m := net[s]; Take(s);
    alias w: nd[m.n] do
      if w.hasPi & w.pi <= m.dv then
        if disk < w.pi then error "I-5 past image dropped before a newer version is durable"; end;
        w.hasPi := false; w.pi := 0;
      end;
    end;
  end;
end;

------------------------------------------------------------------ master
function XPending(): boolean;
begin
  return exists n: Node do d[n].mode = X & !d[n].inst end;
end;

procedure Finish(n: Node);               -- the grant of gid is over: its number is used up
begin
  if LIT_DUPREQ = 0 & d[n].gid > mark[n] then mark[n] := d[n].gid; end;
  d[n].gid := 0;
end;

procedure Confirm(n: Node);              -- an X tenure by ship is in: its source may forget the image
var m: Msg;
begin
  if d[n].mode = X & d[n].how = Ship & !isundefined(d[n].src) then
    Blank(m); m.k := Confirmed; m.n := d[n].src; m.ten := d[n].ten; Send(m);
  end;
end;

procedure SendBounce(n: Node; id: Id);
var m: Msg;
begin Blank(m); m.k := Bounce; m.n := n; m.id := id; Send(m); end;

procedure Entry(r: Node; mo: Mode);      -- new tenure for r
begin
  Finish(r);                             -- "tenure held" says that an unfinished one is installed
  next := next + 1;
  d[r].mode := mo; d[r].ten := next; d[r].inst := (MUT_REUSE = 1); d[r].gid := d[r].qid;
  if ALT_MARKGRANT = 1 & d[r].gid > mark[r] then mark[r] := d[r].gid; end;
  if mo = X then d[r].duty := true; end;
  d[r].q := N; d[r].qid := 0; d[r].qheld := 0; d[r].again := false;
end;

procedure Out(n: Node);
begin
  if PIS = 1 & d[n].duty then d[n].pi := true; d[n].pik := false; d[n].piv := 0; end;
  d[n].mode := N; d[n].ten := 0; d[n].inst := false; d[n].duty := false; Finish(n); undefine d[n].src; d[n].again := false; d[n].shten := 0; d[n].how := Ship;
end;

procedure Learn(i: Node; v: Ver; dv: Ver; disk_read: boolean);   -- an X tenure began with version v: past images left for it are at most that new
begin
  if PIS = 1 & d[i].pi & !d[i].pik then
    if v <= dv | (disk_read & LIT_FAILPAST = 0) then d[i].pi := false; else d[i].pik := true; d[i].piv := v; end;   -- durable already: past asks
  end;
end;

procedure Durable(v: Ver);               -- durable version rose: discard past images up to it
var m: Msg;
begin
  if v > mdv then mdv := v; end;
  if PIS = 1 then
    for n: Node do
      if d[n].pi & d[n].pik & d[n].piv <= mdv then
        Blank(m); m.k := Discard; m.n := n; m.dv := mdv; Send(m);
        d[n].pi := false; d[n].pik := false; d[n].piv := 0;
      end;
    end;
  end;
end;

function Ready(r: Node): boolean;        -- "tenure held" agrees with the directory
begin
  return LIT_OVERWRITE = 1 | LIT_DIRTRUST = 1 | d[r].mode = N | (d[r].mode = S & d[r].ten = d[r].qheld & (d[r].inst | ALT_READYPEND = 1));
end;

ruleset r: Node do
  -- S by disk: nobody installed holds the block
  rule "M1 grant S, read the disk"
    d[r].q = S & !XPending() & Ready(r)
    & (MUT_DISKANY = 1 | forall h: Node do h = r | d[h].mode = N | !d[h].inst end)
  ==> var e: Set; begin
    for i: Node do e[i] := false; end;
    Entry(r, S); undefine d[r].src; d[r].how := Disk;
    SendGrant(r, d[r].gid, d[r].ten, S, Disk, e);
  end;

  rule "M2 grant X without data (upgrade in place, or read the disk)"
    d[r].q = X & !XPending() & Ready(r)
    & ( (d[r].mode = S & (d[r].ten = d[r].qheld | LIT_DIRTRUST = 1)) 
      | (forall h: Node do h = r | d[h].mode = N | !d[h].inst end))
  ==> var up: boolean; var sk: boolean; begin
    up := d[r].mode = S & (d[r].ten = d[r].qheld | LIT_DIRTRUST = 1);
    sk := (MUT_SKIP = 1);
    for n: Node do
      xset[n] := false;
      if n != r & d[n].mode != N then xset[n] := true; end;
    end;
    Entry(r, X); undefine d[r].src;
    for n: Node do
      if xset[n] then
        d[n].xten := d[n].ten;
        SendInvalidate(n, d[n].ten, r, d[r].gid, d[r].ten);
        if sk then xset[n] := false; sk := false; end;
        Out(n);
      end;
    end;
    d[r].how := (up ? Upgrade : Disk);
    SendGrant(r, d[r].gid, d[r].ten, X, (up ? Upgrade : Disk), xset);
  end;

  rule "M3 source said not-held: X reads the disk (same tenure, same set)"
    d[r].again & d[r].mode = X
  ==> begin
    d[r].again := false; d[r].how := Disk;
    SendGrant(r, d[r].gid, d[r].ten, X, Disk, xset);
  end;

  rule "M4 source said not-held: S reads the disk if no installed holder is left"
    d[r].again & d[r].mode = S
    & forall h: Node do h = r | d[h].mode = N | !d[h].inst end
  ==> var e: Set; begin
    for i: Node do e[i] := false; end;
    d[r].again := false; d[r].how := Disk;
    SendGrant(r, d[r].gid, d[r].ten, S, Disk, e);
  end;
end;

ruleset r: Node; h: Node do
  rule "M5 grant S, forward to an installed holder"
    h != r & d[r].q = S & !XPending() & Ready(r) & d[h].mode != N & d[h].inst
  ==> var e: Set; begin
    for i: Node do e[i] := false; end;
    Entry(r, S); d[r].src := h; d[r].how := Ship; d[r].shten := d[h].ten;
    if d[h].mode = X then d[h].mode := S; end;
    SendForward(h, d[h].ten, r, d[r].gid, d[r].ten, S, e);
  end;

  rule "M6 grant X, forward to an installed holder (the write-responsible one if there is one)"
    h != r & d[r].q = X & !XPending() & Ready(r) & !(d[r].mode = S & d[r].ten = d[r].qheld)
    & d[h].mode != N & d[h].inst
    & (LIT_SRCANY = 1 | d[h].duty | forall n: Node do !d[n].duty end)
  ==> var sk: boolean; var ht: Ten; begin
    sk := (MUT_SKIP = 1);
    for n: Node do
      xset[n] := false;
      if n != r & n != h & d[n].mode != N then xset[n] := true; end;
    end;
    Entry(r, X); d[r].src := h; ht := d[h].ten; d[r].how := Ship; d[r].shten := ht;
    for n: Node do
      if xset[n] then
        d[n].xten := d[n].ten;
        SendInvalidate(n, d[n].ten, r, d[r].gid, d[r].ten);
        if sk then xset[n] := false; sk := false; end;
        Out(n);
      end;
    end;
    Out(h);
    SendForward(h, ht, r, d[r].gid, d[r].ten, X, xset);
  end;

  rule "M7 source said not-held: S forwarded to another holder"
    h != r & d[r].again & d[r].mode = S & d[h].mode != N & d[h].inst
  ==> var e: Set; begin
    for i: Node do e[i] := false; end;
    d[r].again := false; d[r].src := h; d[r].how := Ship; d[r].shten := d[h].ten;
    SendForward(h, d[h].ten, r, d[r].gid, d[r].ten, S, e);
  end;
end;

ruleset s: Slot do
  rule "M8 request arrives"
    net[s].k = Request & Turn(s)
  ==> var m: Msg; var none: Set; begin
    m := net[s]; Take(s);
    for i: Node do none[i] := d[m.n].mode = X & xset[i]; end;
    if m.id <= mark[m.n] & LIT_MARKFIRST = 1 then
      SendBounce(m.n, m.id);
    elsif d[m.n].gid != 0 & m.id = d[m.n].gid then    -- granted, unfinished: say it again
      if !d[m.n].again then
        if d[m.n].mode = X & LIT_NOXSET = 0 then
          for i: Node do if xset[i] then SendInvalidate(i, d[i].xten, m.n, m.id, d[m.n].ten); end; end;
        end;
        if d[m.n].how = Ship then
          for h: Node do if !isundefined(d[m.n].src) & h = d[m.n].src then
            SendForward(h, d[m.n].shten, m.n, m.id, d[m.n].ten, d[m.n].mode, none);
          end; end;
        else
          SendGrant(m.n, m.id, d[m.n].ten, d[m.n].mode, d[m.n].how, none);
        end;
      end;
    elsif d[m.n].q != N & m.id = d[m.n].qid then      -- queued already: nothing
    elsif m.id <= mark[m.n] then                      -- used up, or skipped by a later number: ask under a new one
      if LIT_NOBOUNCE = 0 then SendBounce(m.n, m.id); end;
    else                                              -- a copy held changes nothing
      if (d[m.n].q != N & m.id < d[m.n].qid) | m.id < d[m.n].gid then
        if LIT_DUPREQ = 0 & LIT_BOUNCEANY = 0 then error "a number that was given up is above the mark"; end;
      else
        d[m.n].q := m.mode; d[m.n].qid := m.id; d[m.n].qheld := m.hten;
      end;
    end;                                      
  end;

  rule "M9 installed"
    net[s].k = Installed
  ==> var m: Msg; var dr: boolean; begin
    m := net[s]; Take(s); dr := d[m.n].how = Disk;
    if d[m.n].ten = m.ten & !d[m.n].inst then
      Confirm(m.n); Finish(m.n);
      d[m.n].inst := true; undefine d[m.n].src; d[m.n].shten := 0; d[m.n].how := Ship; for i: Node do if d[m.n].mode = X then d[i].xten := 0; end; end;
      if m.ver > mver then mver := m.ver; end;
      if d[m.n].mode = X then
        for i: Node do
          xset[i] := false;
          Learn(i, m.ver, m.dv, dr);
        end;
      end;
      Durable(m.dv);
    end;
  end;

  rule "M10 release"
    net[s].k = Release & Turn(s)
  ==> var m: Msg; var o: Msg; var dr: boolean; begin
    m := net[s]; Take(s); dr := d[m.n].how = Disk;
    if d[m.n].ten = m.ten & !(LIT_RELDROP = 1 & !d[m.n].inst) then   -- pending or not: the tenure ends
      if d[m.n].mode = X & !d[m.n].inst then
        for i: Node do
          xset[i] := false;
          Learn(i, m.ver, m.dv, dr);
        end;
      end;
      if !d[m.n].inst then Confirm(m.n); end;
      d[m.n].duty := false;              -- written before it was released: no past image is left there
      Out(m.n);
    end;
    if m.ver > mver then mver := m.ver; end;
    Durable(m.dv);
    Blank(o); o.k := RelAck; o.n := m.n; o.ten := m.ten; Send(o);
  end;

  rule "M11 not-held"
    net[s].k = NotHeld & Turn(s)
  ==> var m: Msg; begin
    m := net[s]; Take(s);
    if d[m.r].ten = m.ten & !d[m.r].inst & d[m.r].shten = m.hten & d[m.r].how = Ship then
      if LIT_NHREL = 0 & d[m.n].ten = m.hten then d[m.n].duty := false; Out(m.n); end;
      d[m.r].again := true; undefine d[m.r].src;
    end;
  end;

  rule "M13 kept: is this image still needed?"
    net[s].k = Kept
  ==> var m: Msg; var o: Msg; begin
    m := net[s]; Take(s);
    if LIT_CONFPEND = 1 | forall n: Node do d[n].ten != m.ten | d[n].inst end then
      Blank(o); o.k := Confirmed; o.n := m.n; o.ten := m.ten; Send(o);
    end;
  end;

  rule "M16 past: is this past image still needed?"
    net[s].k = Past
  ==> var m: Msg; var o: Msg; begin
    m := net[s]; Take(s);
    if !d[m.n].pi | LIT_PASTLIST = 1 then
      Blank(o); o.k := Discard; o.n := m.n; o.dv := m.ver; Send(o);
    end;
  end;

  rule "M12 written"
    net[s].k = Written
  ==> var m: Msg; begin
    m := net[s]; Take(s);
    Durable(m.dv);
  end;
end;

rule "M14 forget the entry: nobody holds, waits or is to be told anything"
  (mver != 0 | mdv != 0) & forall n: Node do d[n].mode = N & d[n].q = N & !d[n].pi & !d[n].again end
==> begin
  for n: Node do           -- nothing else may be lost with it
    if d[n].ten != 0 | d[n].inst | d[n].duty | d[n].gid != 0 | !isundefined(d[n].src) | d[n].shten != 0 | xset[n] then
      error "an idle entry knows something";
    end;
  end;
  mver := 0; mdv := 0;
  if MUT_NEXTLOST = 1 then next := 0; end;
end;

rule "M14d the durable version is forgotten earlier: it is kept while something waits, pends or is to be discarded"
  mdv != 0 & forall n: Node do (d[n].mode = N | d[n].inst) & d[n].q = N & !d[n].pi & !d[n].again end
==> begin mdv := 0; end;

ruleset n: Node; v: Id do
  rule "M15 other blocks raise the mark"
    lifts > 0 & v > mark[n] & v <= nd[n].id
  ==> begin lifts := lifts - 1; mark[n] := v; end;
end;

------------------------------------------------------------------ faults and timers
ruleset s: Slot do
  rule "F1 lose" faults > 0 & net[s].k != None ==> begin faults := faults - 1; Take(s); end;
  rule "F2 double" faults > 0 & net[s].k != None ==> var m: Msg; begin faults := faults - 1; m := net[s]; Send(m); end;
end;

function Idle(): boolean;    -- timers are long: they fire when nothing is in flight; earlier firing is F2
begin return net[0].k = None & faults < FAULTS; end;

ruleset n: Node do
  rule "T1 request timer" Idle() & nd[n].want != N & d[n].q = N & !nd[n].fail ==> begin SendRequest(n); end;
  rule "T2 release timer" Idle() & nd[n].rel != 0 ==> begin
    ToMaster(Release, n, nd[n].rel, nd[n].relv, nd[n].reldv, 0);
  end;
  rule "T4 kept image timer" Idle() & nd[n].kten != 0 & LIT_NOKEPT = 0 ==> begin
    ToMaster(Kept, n, nd[n].kten, 0, 0, 0);
  end;
  rule "T5 past image timer" PIS = 1 & net[0].k = None & nd[n].hasPi & LIT_NOPAST = 0 ==> begin
    ToMaster(Past, n, 0, nd[n].pi, 0, 0);
  end;
  rule "T3 master's timer: installed missing" Idle() & LIT_NOPROBE = 0 & d[n].mode != N & !d[n].inst
  ==> var m: Msg; begin
    Blank(m); m.k := Probe; m.n := n; m.ten := d[n].ten; m.id := d[n].gid; Send(m);
  end;
end;
ruleset s: Slot do
  rule "N15 probe" net[s].k = Probe ==> var m: Msg; begin
    m := net[s]; Take(s); Truth(m.n, m.ten);
  end;
end;

startstate begin
  for s: Slot do Blank(net[s]); end;
  for n: Node do
    Drop(n); ClearConv(n);
    nd[n].wr := false; nd[n].wver := 0; nd[n].hasPi := false; nd[n].pi := 0; nd[n].want := N; nd[n].id := 0;
    nd[n].rem := 0; undefine nd[n].rr; nd[n].rid := 0; nd[n].rten := 0; nd[n].rel := 0; nd[n].relv := 0; nd[n].reldv := 0;
    nd[n].kten := 0; nd[n].kver := 0; nd[n].kdv := 0; d[n].shten := 0; d[n].how := Ship; d[n].xten := 0;
    nd[n].refuse := 0; nd[n].can := false; nd[n].fail := false; mark[n] := 0;
    d[n].mode := N; d[n].ten := 0; d[n].inst := false; d[n].duty := false; d[n].q := N; d[n].qid := 0; d[n].qheld := 0;
    d[n].gid := 0; undefine d[n].src; d[n].again := false; d[n].pi := false; d[n].piv := 0; d[n].pik := false;
    xset[n] := false;
  end;
  mver := 0; mdv := 0; next := 0; budget := BUDGET; lifts := LIFTS; faults := FAULTS; disk := 0; newest := 0;
end;

------------------------------------------------------------------ quiet, deadlock, liveness
function Quiet(): boolean;
begin
  return (forall s: Slot do net[s].k = None end)
       & (forall n: Node do nd[n].want = N & d[n].q = N & !nd[n].wr & nd[n].rel = 0 end);
end;
rule "quiet" Quiet() & (forall n: Node do nd[n].kten = 0 end) ==> begin end;      -- self loop: a state without rules is then a deadlock of an open conversation

liveness "I-16 every open request can still end" forall n: Node do nd[n].want = N end;
liveness "I-28 every past image can still go" forall n: Node do !nd[n].hasPi end;
liveness "I-28 every kept image can still go" forall n: Node do nd[n].kten = 0 end;

------------------------------------------------------------------ invariants
invariant "I-16 progress without any voluntary event"
  net[0].k = None & (exists n: Node do nd[n].want != N end) ->
      (exists r: Node do d[r].q != N & !XPending() & Ready(r) end)
    | (exists r: Node do d[r].again end)
    | (exists n: Node do nd[n].wr | (nd[n].want != N & nd[n].gr & nd[n].ghow = Disk & !nd[n].data) end)
    | (Idle() & exists n: Node do (nd[n].want != N & d[n].q = N) | nd[n].rel != 0
                 | (LIT_NOPROBE = 0 & d[n].mode != N & !d[n].inst & nd[n].mode != N & nd[n].ten = d[n].ten) end);

invariant "I-1 single writer, many readers"
  forall a: Node do forall b: Node do a != b & nd[a].mode = X -> nd[b].mode = N end end;

invariant "I-2 every held copy is the newest version"
  forall n: Node do nd[n].mode != N -> nd[n].ver = newest end;

invariant "I-3 directory covers reality, in transit included"
  forall n: Node do nd[n].mode != N ->
      (d[n].ten = nd[n].ten
       & (d[n].mode = nd[n].mode
          | (nd[n].mode = X & d[n].mode = S
             & ((exists s: Slot do net[s].k = Forward & net[s].n = n & net[s].hten = nd[n].ten end)
                | exists r: Node do d[r].mode = S & !d[r].inst & d[r].shten = nd[n].ten end))))
    | (nd[n].mode = S & d[n].mode = X & !d[n].inst)                -- upgrade granted, not yet begun
    | exists s: Slot do (net[s].k = Invalidate | (net[s].k = Forward & net[s].mode = X))
                        & net[s].n = n & net[s].hten = nd[n].ten end
    | (xset[n] & d[n].xten = nd[n].ten)         -- invalidate lost
    | (exists r: Node do d[r].mode = X & !d[r].inst & d[r].shten = nd[n].ten & d[r].how = Ship end)   -- X forward lost
  end;

invariant "I-3 a grant in transit is known"
  forall n: Node do nd[n].want != N & nd[n].gr ->
      (d[n].ten = nd[n].gten & d[n].mode = nd[n].want)
    | exists s: Slot do net[s].k = Invalidate & net[s].n = n & net[s].hten = nd[n].gten end
    | (xset[n] & d[n].xten = nd[n].gten)        -- invalidate lost, said again by the request timer
    | nd[n].rem != 0 | nd[n].can                -- cancelled: it will not begin
  end;

invariant "I-3 equal when quiet"
  Quiet() -> forall n: Node do nd[n].mode = d[n].mode & nd[n].ten = d[n].ten end;

invariant "I-5/I-6 newest version is in a live copy, in flight to its grantee, or on disk"
  newest = disk
  | (exists n: Node do (nd[n].mode != N & nd[n].ver = newest) | (nd[n].want = X & nd[n].data & nd[n].gver = newest) end)
  | (exists s: Slot do net[s].k = ShipMsg & net[s].mode = X & net[s].ver = newest end)
  | (exists h: Node do exists r: Node do nd[h].kten != 0 & nd[h].kten = d[r].ten & d[r].mode = X & !d[r].inst & nd[h].kver = newest end end);

invariant "I-9 one disk write at a time"
  forall a: Node do forall b: Node do a != b -> !(nd[a].wr & nd[b].wr) end end;

invariant "duty: at most one holder"
  forall a: Node do forall b: Node do a != b -> !(nd[a].duty & nd[b].duty) end end;

invariant "duty: newer than disk -> one holder has it, or an X grant that inherits it is pending"
  newest > disk -> (exists n: Node do nd[n].duty & d[n].duty end)
                 | (exists n: Node do d[n].mode = X & !d[n].inst & d[n].duty end)
                 | (exists n: Node do nd[n].duty end & exists n: Node do d[n].mode = X & !d[n].inst end);

invariant "duty: the responsible one knows that it is dirty"
  forall n: Node do nd[n].duty -> nd[n].dv <= disk end;

invariant "I-4 past image never newer than current"
  forall n: Node do nd[n].hasPi -> nd[n].pi < newest | (LIT_PIOLDER = 0 & nd[n].pi = newest) end;

invariant "I-28 a kept image is asked about"
  net[0].k = None -> forall n: Node do nd[n].kten = 0
    | (Idle() & LIT_NOKEPT = 0)
    | exists r: Node do d[r].mode = X & !d[r].inst & d[r].ten = nd[n].kten end end;

invariant "I-28 a past image is known to the master, or asked about"
  net[0].k = None -> forall n: Node do !nd[n].hasPi | d[n].pi | nd[n].duty | LIT_NOPAST = 0 end;

invariant "B refuse lives with an S conversation only"
  forall n: Node do nd[n].refuse = 0 | nd[n].want = S end;

invariant "I-28 nobody holds: no name is left on the list of past images"
  Quiet() & (forall n: Node do d[n].mode = N end) -> forall n: Node do !d[n].pi end;
