/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/peers/boost_scc.h"

#if __has_include(<boost/graph/compressed_sparse_row_graph.hpp>)

#include <boost/graph/compressed_sparse_row_graph.hpp>
#include <boost/graph/strong_components.hpp>
#include <utility>
#include <vector>

// 32-bit numbers of vertices and edges, as ours: the form in which Boost is fastest.
struct boost_scc {
    using graph_type =
        boost::compressed_sparse_row_graph<boost::directedS, boost::no_property, boost::no_property,
                                           boost::no_property, uint32_t, uint32_t>;
    graph_type graph;
    std::vector<uint32_t> component, root, number;
    std::vector<boost::default_color_type> color;
};

extern "C" bool boost_scc_is_built(void)
{
    return true;
}

extern "C" struct boost_scc *boost_scc_open(uint32_t vertices, uint32_t edges, const uint32_t *from,
                                            const uint32_t *to)
{
    auto *peer = new boost_scc;
    std::vector<std::pair<uint32_t, uint32_t>> pairs(edges);

    for (uint32_t i = 0; i < edges; i++)
        pairs[i] = {from[i], to[i]};
    peer->graph = boost_scc::graph_type(boost::edges_are_unsorted_multi_pass, pairs.begin(), pairs.end(),
                                        vertices);
    peer->component.resize(vertices);
    peer->root.resize(vertices);
    peer->number.resize(vertices);
    peer->color.resize(vertices);
    return peer;
}

extern "C" uint32_t boost_scc_run(struct boost_scc *peer)
{
    const auto index = boost::get(boost::vertex_index, peer->graph);
    const auto map = [&index](auto &values) {
        return boost::make_iterator_property_map(values.begin(), index);
    };

    return boost::strong_components(
        peer->graph, map(peer->component),
        boost::root_map(map(peer->root)).discover_time_map(map(peer->number)).color_map(map(peer->color)));
}

extern "C" void boost_scc_close(struct boost_scc **peer)
{
    delete *peer;
    *peer = nullptr;
}

#else

extern "C" bool boost_scc_is_built(void)
{
    return false;
}

extern "C" struct boost_scc *boost_scc_open(uint32_t, uint32_t, const uint32_t *, const uint32_t *)
{
    return nullptr;
}

extern "C" uint32_t boost_scc_run(struct boost_scc *)
{
    return 0;
}

extern "C" void boost_scc_close(struct boost_scc **peer)
{
    *peer = nullptr;
}

#endif
