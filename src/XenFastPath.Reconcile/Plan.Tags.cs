// The part of the plan that gives cards back as they were: they take VLAN tags out of frames again.
using XenFastPath.Model;
using XenFastPath.Netlink;

namespace XenFastPath.Reconcile;

public sealed partial record Plan
{
    private sealed partial class Builder
    {
        /// <summary>Ports that this plan has, or wants, on the fast path.</summary>
        private readonly HashSet<int> _fast = [];

        /// <summary>
        /// Last, when the program is off the card: it would take frames without their tags for untagged ones. A card whose Network asks
        /// for the fast path and cannot have it waits until everything else is settled, for it may only be on its way; and it stays as
        /// it is where the path is to be tried again, for some cards lose their link at every such switch. One that somebody else has
        /// switched back already is done with.
        /// </summary>
        public void RestoreTags()
        {
            bool isSettled = _actions.Count == 0;
            foreach (LinkInfo card in desired.TagsKept.Select(observed.DeviceOf).OfType<LinkInfo>().Where(c => !_fast.Contains(c.Index)))
            {
                if (!AsksForFastPath(card) || StripsTags(card) || (isSettled && !MayBeTriedAgain(card)))
                    _actions.Add(new RestoreTags(card.Name, card.Index));
            }
        }

        /// <summary>Whatever may speak against it: does a Network that this card serves, by itself, a VLAN or a bond, ask for the fast path?</summary>
        private bool AsksForFastPath(LinkInfo card)
        {
            if (desired.Pifs.FirstOrDefault(p => observed.DeviceOf(p)?.Index == card.Index) is not { } pif)
                return false;
            Pif uplink = desired.BondOfMember(pif) is { } bond ? desired.MasterOf(bond) : pif;
            IEnumerable<Guid> networks = desired.VlansOf(uplink).Select(v => v.Network);
            if (uplink is { Network: { } own, IsPlugged: true })
                networks = networks.Append(own);
            return networks.Any(n => desired.NetworkOf(n).Datapath is not (Datapath.Auto or Datapath.Bridge));
        }

        /// <summary>
        /// A failed bind may pass. And a driver that goes on taking tags out although it was told not to would say, switched back, that
        /// it may be told.
        /// </summary>
        private bool MayBeTriedAgain(LinkInfo card) =>
            observed.FastPath.Failures.ContainsKey(card.Index) || observed.FastPath.Failures.ContainsKey(card.MasterIndex)
            || (observed.Facts.TryGetValue(card.Index, out PortFacts? facts) && facts.HidesTags);
    }
}
