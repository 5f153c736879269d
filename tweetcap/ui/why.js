// The panel that says why: the photo with what the network looked at for a word, and what the photo did to the word.
// One function with cards.js, whose helpers it uses.

const LOWEST = Math.log(1e-4);  // left end of the bars
let panels = 0;

function whyPanel({rows, columns, words}, photoAddress) {
    const name = 'why-' + ++panels;
    const title = make('p', {id: name, class: 'title'}, say.why_title);
    const canvas = make('canvas', {width: columns, height: rows, 'aria-hidden': 'true'});
    const image = make('img', {src: photoAddress, alt: ''});
    const detail = make('div', {class: 'detail', 'aria-live': 'polite'});
    const choose = word => {
        drawAttention(canvas, word.attention);
        image.alt = fill(say.why_photo, {word: word.text || say.why_end, place: placeOf(word.attention, rows, columns)});
        detail.replaceChildren(...detailsOf(word, rows, columns));
    };
    const chips = words.map((word, number) => make('label', {class: 'chip', style: tint(word)},
        make('input', {type: 'radio', name, value: number, checked: number === 0, onchange: () => choose(word)}),
        make('span', {lang: word.text ? 'ja' : language}, word.text || say.why_end)));
    choose(words[0]);
    return make('section', {class: 'why-panel', 'aria-labelledby': name},
        title,
        make('p', {class: 'note'}, say.why_help),
        make('div', {class: 'why-columns'},
            make('div', {class: 'seen'}, image, canvas),
            make('div', {},
                make('fieldset', {class: 'chips'}, make('legend', {}, say.why_words), ...chips),
                detail)));
}

// What was not looked at is darkened; a canvas of one pixel a cell, which the browser stretches smoothly. The root keeps
// cells visible that got a tenth of the attention of the brightest one.
function drawAttention(canvas, attention) {
    const context = canvas.getContext('2d');
    const highest = Math.max(...attention.flat()) || 1;
    const image = context.createImageData(canvas.width, canvas.height);
    attention.flat().forEach((share, cell) => { image.data[4 * cell + 3] = 255 * 0.78 * (1 - Math.sqrt(share / highest)); });
    context.putImageData(image, 0, 0);
}

function placeOf(attention, rows, columns) {
    const flat = attention.flat();
    const cell = flat.indexOf(Math.max(...flat));
    const third = (position, count) => Math.min(2, Math.floor(3 * (position + 0.5) / count));
    return fill(say.place, {row: say.rows[third(Math.floor(cell / columns), rows)],
        column: say.columns[third(cell % columns, columns)]});
}

const tint = word => {
    const gain = Math.max(0, Math.min(1, (word.log_prob - word.null_log_prob) / 4));
    return `--gain: ${Math.round(60 * gain)}%`;
};

function detailsOf(word, rows, columns) {
    const bar = (label, nats, kind) => make('div', {class: 'likelihood'},
        make('span', {}, label),
        make('span', {class: 'bar ' + kind, 'aria-hidden': 'true'},
            make('i', {style: `width: ${100 * Math.max(0, 1 - nats / LOWEST)}%`})),
        make('b', {}, percent(Math.exp(nats))));
    const shares = word.concepts.length ? fill(say.why_shares, {
        photo: percent(1 - word.on_concepts), concepts: percent(word.on_concepts),
        list: word.concepts.map(([animal, share]) => `${animal} ${percent(share)}`).join(language === 'ja' ? '、' : ', '),
    }) : say.why_only_photo;
    return [
        bar(say.why_with, word.log_prob, 'with'),
        bar(say.why_without, word.null_log_prob, 'without'),
        make('p', {class: 'note'}, say.why_scale),
        make('p', {}, fill(say.why_place, {place: placeOf(word.attention, rows, columns)}), ' ', shares),
    ];
}

function percent(share) {
    if (share > 0 && share < 1e-4) return '< 0.01 %';
    return (100 * share).toFixed(share < 0.01 ? 2 : share < 0.1 ? 1 : 0) + ' %';
}
