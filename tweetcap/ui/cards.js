// The tweets as cards. gr.HTML runs why.js and this file once, as one function, with `element`, `props`, `trigger` and
// `watch`. Messages come from answers.py: a show replaces the cards, an answer belongs to one card's request.
//
// What a visitor does with a card (edits, likes) is kept in its object here, not on the server. Texts become text
// nodes, never markup.

const language = navigator.language.slice(0, 2) === 'ja' ? 'ja' : 'en';  // as gradio chooses
const say = props.texts[language];
const SVG = 'http://www.w3.org/2000/svg';
const ICONS = {
    like: 'M12 20.5 4.2 12.6a5 5 0 0 1 7.1-7.1l.7.7.7-.7a5 5 0 0 1 7.1 7.1z',
    copy: 'M9 9h11v11H9z M5 15H4V4h11v1',
    check: 'M4.5 12.5 10 18 19.5 7',
    edit: 'M4 20v-4L15.5 4.5l4 4L8 20z M13 7l4 4',
    reroll: 'M20 5v5h-5 M19.5 10A8 8 0 1 0 20 14',
    more: 'M12 5v14 M5 12h14',
    why: 'M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0z M9.6 9.6a2.4 2.4 0 1 1 3.4 2.2c-.8.4-1 .9-1 1.8 M12 16.4v.2',
    post: 'M12 15V3.5 M7.5 8 12 3.5 16.5 8 M5 11.5V20h14v-8.5',
    report: 'M6 21V4h11l-2 4 2 4H6',
};
// Nats by which the photo makes the whole text likelier, and the words for it. Of 200 tweets about 40 photos (embedded
// checkpoint, usual settings) 54 % reach 3 and 78 % reach 1 on their own photo, 2 % and 11 % on another one.
const FIT = [[3, 'well'], [1, 'some'], [-Infinity, 'free']];

let photo = null;       // which photo the cards are about; another one's are not kept
let groups = [];        // [{name, temperature, cards}]
let liked = [];         // cards of earlier shows of this photo
let requests = 0;
let waiting = null;     // {request, resolve} of the answer that is awaited
let line = Promise.resolve();  // answers are asked for one after the other, so that no message hides another

const fill = (text, values) => text.replace(/{(\w+)}/g, (_, name) => values[name]);

function make(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
        else if (value !== false && value != null) node.setAttribute(name, value === true ? '' : value);
    }
    node.append(...children.filter(child => child != null));
    return node;
}

function icon(name) {
    const svg = document.createElementNS(SVG, 'svg');
    const path = document.createElementNS(SVG, 'path');
    svg.setAttribute('viewBox', '0 0 24 24');
    svg.setAttribute('aria-hidden', 'true');
    path.setAttribute('d', ICONS[name]);
    svg.append(path);
    return svg;
}

const parts = {
    problem: make('p', {class: 'problem', role: 'alert'}),
    description: make('div', {class: 'description'}),
    groups: make('div', {class: 'groups', role: 'region', 'aria-label': say.results}),
    seed: make('p', {class: 'seed'}),
    liked: make('div', {class: 'liked'}),
    news: make('p', {class: 'news', 'aria-live': 'polite'}),
};

function tell(problem) {
    parts.problem.textContent = problem ? problem[language] : '';
}

// --- Length, as X counts it: the twin of tweetcap.write.filters.weighted_length ---

const HEAVY = new RegExp(props.length_on_x.heavy, 'gu');
const EMOJI = new RegExp(props.length_on_x.emoji, 'gu');
const URL_ON_X = new RegExp(props.length_on_x.url, 'giu');

function lengthOnX(text) {
    let weight = 0;
    const take = (pattern, each) => { text = text.replace(pattern, () => { weight += each; return ''; }); };
    text = text.normalize('NFC');
    take(URL_ON_X, props.length_on_x.url_weight);
    take(EMOJI, 2);
    return weight + [...text].length + (text.match(HEAVY)?.length ?? 0);
}

// --- Cards ---

class Card {
    constructor(tweet) {
        this.tweet = tweet;
        this.text = tweet.text;
        this.liked = this.likeTold = false;
        this.busy = false;
        this.words = make('p', {class: 'text', lang: 'ja', dir: 'auto'});
        this.fit = make('span', {class: 'fit'});
        this.length = make('span', {class: 'length'});
        this.body = make('div', {class: 'body'}, this.words);
        this.below = make('div', {class: 'below'});
        this.buttons = {
            like: this.button('like', () => this.like(), {'aria-pressed': 'false'}),
            copy: this.button('copy', () => this.copy()),
            edit: this.button('edit', () => this.edit(), {'aria-pressed': 'false'}),
            reroll: this.button('reroll', () => this.reroll()),
            more: this.button('more', () => this.more()),
            why: this.button('why', () => this.why(), {'aria-expanded': 'false'}),
        };
        this.post = make('a', {class: 'act post', target: '_blank', rel: 'noopener noreferrer', title: say.post,
            'aria-label': say.post}, icon('post'), make('span', {class: 'word'}, say.post));
        const report = props.can_report ? this.button('report', event => this.report(event.currentTarget)) : null;
        this.node = make('li', {class: 'card'},
            make('div', {class: 'top'}, toneLabel(tweet.tone), this.fit,
                make('span', {class: 'end'}, this.length, report)),
            this.body,
            make('div', {class: 'acts'}, ...Object.values(this.buttons), this.post),
            this.below);
        this.refresh();
    }

    button(name, onclick, attributes = {}) {
        return make('button', {type: 'button', class: 'act ' + name, title: say[name], 'aria-label': say[name], onclick,
            ...attributes}, icon(name), make('span', {class: 'word'}, say[name]));
    }

    refresh() {
        this.words.textContent = this.text;
        const count = lengthOnX(this.text);
        this.length.textContent = `${count}/${props.length_on_x.limit}`;
        this.length.title = fill(say.length, {count});
        this.length.classList.toggle('over', count > props.length_on_x.limit);
        if (count > props.length_on_x.limit) this.length.textContent += ' ' + say.too_long;
        this.post.href = 'https://x.com/intent/post?text=' + encodeURIComponent(this.text);
        const [, fit] = FIT.find(([nats]) => this.tweet.grounding >= nats);
        const edited = this.text !== this.tweet.text;
        this.fit.className = 'fit ' + (edited ? 'edited' : fit);
        this.fit.title = edited ? '' : fill(say.fit_title, {value: Number(Math.exp(this.tweet.grounding).toPrecision(2))});
        this.fit.replaceChildren(...edited ? [say.edited] : [meter(fit), say['fit_' + fit]]);
    }

    like() {
        this.liked = !this.liked;
        this.buttons.like.setAttribute('aria-pressed', this.liked);
        if (this.liked && !this.likeTold) trigger('like', this.record());
        this.likeTold = true;
    }

    report(button) {
        trigger('report', this.record());
        button.disabled = true;
        this.node.classList.add('reported');
        parts.news.textContent = say.reported;
        this.below.replaceChildren(make('p', {class: 'note'}, say.reported));
    }

    record() {  // what the model wrote and how; edits are the visitor's own
        const {text, tone, register, temperature, guidance, top_p, seed} = this.tweet;
        return {text, tone, register, temperature, guidance, top_p, seed};
    }

    async copy() {
        try {
            await navigator.clipboard.writeText(this.text);
        } catch {  // a page without https, as one at home is
            const area = make('textarea', {}, this.text);
            this.body.append(area);
            area.select();
            document.execCommand('copy');
            area.remove();
        }
        const button = this.buttons.copy;
        const show = (name, word) => button.replaceChildren(icon(name), make('span', {class: 'word'}, word));
        button.classList.add('done');
        show('check', say.copied);
        parts.news.textContent = say.copied;
        setTimeout(() => { button.classList.remove('done'); show('copy', say.copy); parts.news.textContent = ''; }, 1800);
    }

    edit() {
        const button = this.buttons.edit;
        const editing = button.getAttribute('aria-pressed') === 'true';
        button.setAttribute('aria-pressed', !editing);
        button.title = editing ? say.edit : say.edit_done;
        button.setAttribute('aria-label', button.title);
        button.replaceChildren(icon(editing ? 'edit' : 'check'), make('span', {class: 'word'}, button.title));
        if (editing) {
            this.body.replaceChildren(this.words);
            return button.focus();
        }
        const area = make('textarea', {class: 'text', lang: 'ja', rows: 2, 'aria-label': say.edit_text,
            oninput: () => { this.text = area.value; this.refresh(); grow(area); },
            onkeydown: event => {
                const finished = event.key === 'Escape' || (event.key === 'Enter' && (event.ctrlKey || event.metaKey));
                if (finished && !event.isComposing) { event.preventDefault(); this.edit(); }
            }});
        area.value = this.text;
        this.body.replaceChildren(area);
        grow(area);
        area.focus();
    }

    async ask(kind, data) {  // → the answer, or null where there is none
        if (this.busy) return null;
        if (!navigator.onLine) {
            this.below.replaceChildren(make('p', {class: 'problem', role: 'alert'}, say.lost));
            return null;
        }
        this.busy = true;
        this.node.classList.add('busy');
        this.node.setAttribute('aria-busy', 'true');
        tell(null);
        const {temperature, guidance, top_p, tone, register} = this.tweet;
        const answer = await ask(kind, {temperature, guidance, top_p, tone, register, ...data});
        this.busy = false;
        this.node.classList.remove('busy');
        this.node.removeAttribute('aria-busy');
        if (!answer || answer.problem) {
            const problem = answer ? answer.problem[language] : say.lost;
            this.below.replaceChildren(make('p', {class: 'problem', role: 'alert'}, problem));
            return null;
        }
        return answer;
    }

    async reroll() {
        const answer = await this.ask('reroll', {avoid: textsShown()});
        if (!answer) return;
        const other = new Card(answer.cards[0]);
        const focused = this.node.contains(document.activeElement);
        this.node.replaceWith(other.node);
        for (const group of groups) group.cards = group.cards.map(card => card === this ? other : card);
        other.node.classList.add('new');
        if (focused) other.buttons.reroll.focus();
        parts.news.textContent = fill(say.rewritten, {text: other.text});
    }

    async more() {
        const answer = await this.ask('more', {avoid: textsShown()});
        if (!answer) return;
        const others = answer.cards.map(tweet => new Card(tweet));
        this.node.after(...others.map(card => card.node));
        for (const group of groups) {
            group.cards = group.cards.flatMap(card => card === this ? [this, ...others] : [card]);
        }
        for (const card of others) card.node.classList.add('new');
        parts.news.textContent = fill(say.done, {count: others.length});
    }

    async why() {
        const button = this.buttons.why;
        if (button.getAttribute('aria-expanded') === 'true') {
            button.setAttribute('aria-expanded', 'false');
            return this.below.replaceChildren();
        }
        const answer = await this.ask('why', {text: this.text});
        if (!answer) return;
        button.setAttribute('aria-expanded', 'true');
        this.below.replaceChildren(whyPanel(answer, document.querySelector('#photo img')?.src));
    }
}

function grow(area) {
    area.style.height = 'auto';
    area.style.height = area.scrollHeight + 2 + 'px';
}

function toneLabel(tone) {
    return make('span', {class: 'tone'}, say['tone_' + tone] ?? tone);
}

function meter(fit) {
    const level = {well: 3, some: 2, free: 1}[fit];
    return make('span', {class: 'meter', 'aria-hidden': 'true'},
        ...[1, 2, 3].map(step => make('i', {class: step <= level ? 'on' : null})));
}

const textsShown = () => [...groups.flatMap(group => group.cards), ...liked].flatMap(card =>
    card.text === card.tweet.text ? [card.text] : [card.text, card.tweet.text]);

function ask(kind, data) {
    const answered = line.then(() => new Promise(resolve => {
        waiting = {request: ++requests, resolve};
        trigger(kind, {...data, request: requests});
    }));
    line = answered;
    return answered;
}

function answer(message) {
    if (!waiting || waiting.request !== message.request) return;
    const {resolve} = waiting;
    waiting = null;
    resolve(message);
}

// --- Shows ---

function show(message) {
    tell(message.problem);
    if (message.photo !== photo) liked = [];
    else liked = [...liked, ...groups.flatMap(group => group.cards).filter(card => card.liked && !liked.includes(card))];
    photo = message.photo;
    groups = message.groups.map(group => ({...group, cards: group.cards.map(tweet => new Card(tweet))}));
    const count = groups.reduce((sum, group) => sum + group.cards.length, 0);
    if (message.problem && !count) groups = [];
    const draws = message.writing ? draftCards(message.draft) : [];
    parts.groups.replaceChildren(...groups.map((group, number) => groupNode(group, number === groups.length - 1 ? draws : [])));
    parts.groups.classList.toggle('compared', groups.some(group => group.name));
    element.classList.toggle('writing', message.writing);
    parts.groups.setAttribute('aria-busy', message.writing);
    showDescription(message.description);
    showSeed(message.writing || !count ? null : message.seed);
    showLiked();
    if (!message.writing && !message.description && count) {
        parts.news.textContent = fill(say.done, {count}) + ' ' + groups[0].cards[0].text;
    }
}

function groupNode(group, drafts) {
    const list = make('ol', {class: 'cards'}, ...group.cards.map(card => card.node), ...drafts);
    if (!group.name) return list;
    const title = make('h2', {}, fill(say.temperature_of, {value: group.temperature}), make('small', {}, say[group.name]));
    return make('section', {}, title, list);
}

function draftCards(draft) {
    const text = make('p', {class: 'text', lang: draft ? 'ja' : language}, draft ? draft.text : say.looking);
    const top = make('div', {class: 'top'}, draft ? toneLabel(draft.tone) : null, draft ? say.drafting : null);
    return [make('li', {class: 'card draft'}, top, text)];
}

function showDescription(description) {
    parts.description.replaceChildren(...description ? [
        make('p', {}, make('span', {class: 'label'}, say.caption), make('q', {lang: 'ja'}, description)),
        make('p', {class: 'label'}, say.instead),
    ] : []);
}

function showSeed(seed) {
    const keep = event => {
        trigger('keep_seed', {seed});
        event.target.textContent = parts.news.textContent = say.seed_kept;
    };
    parts.seed.replaceChildren(...seed == null ? [] : [
        make('span', {}, fill(say.seed_used, {seed})), make('button', {type: 'button', onclick: keep}, say.seed_keep)]);
}

function showLiked() {
    parts.liked.replaceChildren(...liked.length ? [
        make('h2', {}, say.liked), make('ol', {class: 'cards'}, ...liked.map(card => card.node))] : []);
}

function clear() {
    photo = null;
    groups = liked = [];
    tell(null);
    for (const part of [parts.description, parts.seed, parts.liked]) part.replaceChildren();
    parts.groups.replaceChildren(make('p', {class: 'empty'}, say.empty));
    parts.groups.classList.remove('compared');
    element.classList.remove('writing');
}

// Gradio 6.31 gives the buttons of its examples no name, and every radio button a group of its own, so that arrow keys
// don't move between them.
function nameParts() {
    const examples = document.querySelectorAll('.photo-column button.gallery-item');
    const tones = document.querySelector('.controls-column fieldset');
    if (!examples.length || !tones) return setTimeout(nameParts, 100);
    examples.forEach((button, number) => button.setAttribute('aria-label', fill(say.example, {number: number + 1})));
    tones.setAttribute('aria-label', say.tone);
    const join = () => {
        for (const radio of tones.querySelectorAll('input')) if (radio.name !== 'tone') radio.name = 'tone';
    };
    join();
    new MutationObserver(join).observe(tones, {subtree: true, attributeFilter: ['name']});  // it names them again
    const photoPart = document.querySelector('#photo');
    const translate = () => photoPart.querySelectorAll('button[aria-label]').forEach(button => {
        const name = say.photo_buttons[button.getAttribute('aria-label')];
        if (name) for (const attribute of ['aria-label', 'title']) button.setAttribute(attribute, name);
    });
    translate();
    new MutationObserver(translate).observe(photoPart, {subtree: true, childList: true, attributeFilter: ['aria-label']});
}

// Gradio 6.31 takes a photo from the clipboard by its button only.
document.addEventListener('paste', event => {
    const file = [...event.clipboardData.files].find(({type}) => type.startsWith('image/'));
    const input = document.querySelector('#photo input[type="file"]');
    if (!file || !input) return;
    const transfer = new DataTransfer();
    transfer.items.add(file);
    input.files = transfer.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
});

// After a request that found no network, gradio loads the page anew as soon as there is one: all cards would be gone.
document.addEventListener('click', event => {
    if (navigator.onLine || !event.target.closest('.controls-column button:is(.md, .lg), .photo-column .gallery-item')) return;
    event.stopImmediatePropagation();
    tell({ja: say.lost, en: say.lost});
}, {capture: true});

element.querySelector('.show').append(...Object.values(parts));
document.title = say.title;
nameParts();
clear();
watch('value', () => {
    const message = props.value;
    if (!message) clear();  // gradio makes '' of None
    else if (message.kind === 'show') show(message);
    else answer(message);
});
window.addEventListener('tweetcap-failed', event => {
    const problem = {ja: say.lost, en: say.lost};
    const toast = document.querySelector('.toast-body.error');
    const told = toast?.querySelector('[data-testid="toast-text"]')?.textContent ?? '';
    if (told.startsWith(say.busy.split('{')[0])) problem[language] = told;  // it knows how many are waiting
    toast?.querySelector('[data-testid="toast-close"]')?.click();  // it is said once, where the visitor looks
    if (event.detail === 'answer') return answer({request: waiting?.request, problem});
    element.classList.remove('writing');
    parts.groups.querySelector('.draft')?.remove();
    tell(problem);
});
